"""Pictures of what a sweep tried."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")  # before pyplot: there may be no screen
from matplotlib import pyplot
from matplotlib.axis import Axis
from matplotlib.ticker import NullFormatter

from stemsplit.spectrograms import write_figure

MOST_COLUMNS = 8


class Cell(NamedTuple):
    """A trial in a heat map."""

    x: float | str
    y: float | str
    decibels: float
    finished: bool  # not pruned


def in_order(values: Iterable[float | str]) -> list[Any]:
    """Without repetition, numbers before words."""
    return sorted(set(values), key=lambda value: (isinstance(value, str), value))


def heat_maps(maps: Mapping[tuple[str, str], Sequence[Cell]], path: Path, title: str) -> None:
    """Trials by pairs of settings (across, down) as a PNG, coloured by their figure.

    Settings of few values are rows and columns; others are numbers on an axis. The best is framed,
    what was pruned is small.
    """
    figure, axes = pyplot.subplots(
        1, len(maps), figsize=(5.2 * len(maps) + 1, 4.6), layout="constrained", squeeze=False
    )
    figures = [cell.decibels for cells in maps.values() for cell in cells]
    lowest, highest = min(figures), max(figures)
    for axis, ((across, down), cells) in zip(axes[0], maps.items(), strict=True):
        x, large = places_along(axis.xaxis, across, [cell.x for cell in cells])
        y, also_large = places_along(axis.yaxis, down, [cell.y for cell in cells])
        area = 1200 if large and also_large else 500
        finished = [cell for cell in cells if cell.finished]
        best = max(finished, key=lambda cell: cell.decibels, default=None)
        shown = axis.scatter(
            x,
            y,
            c=[cell.decibels for cell in cells],
            s=[area if cell.finished else area / 2 for cell in cells],
            vmin=lowest,
            vmax=highest,
            marker="s",
            cmap="viridis",
            edgecolors=["red" if cell is best else "none" for cell in cells],
            linewidths=2,
        )
        axis.margins(0.2)
        for cell, place in zip(cells, zip(x, y, strict=True), strict=True):
            axis.annotate(
                f"{cell.decibels:.1f}",
                place,
                ha="center",
                va="center",
                fontsize=8,
                color="black" if cell.decibels > lowest + 0.6 * (highest - lowest) else "white",
            )
    figure.colorbar(shown, ax=axes, label="SDR on the validation songs (dB)")
    figure.suptitle(title)
    write_figure(figure, path)


def places_along(
    along: Axis, setting: str, values: Sequence[float | str]
) -> tuple[list[Any], bool]:
    """Where values lie along an axis, and whether those are rows or columns."""
    along.set_label_text(setting)
    distinct = in_order(values)
    if len(distinct) <= MOST_COLUMNS:
        along.set_ticks(range(len(distinct)), [f"{value}" for value in distinct])
        return [distinct.index(value) for value in values], True
    if all(isinstance(value, float) and value > 0 for value in values):
        axis = along.axes
        (axis.set_xscale if along is axis.xaxis else axis.set_yscale)("log")
        along.set_minor_formatter(NullFormatter())
    return list(values), False
