"""Draw the trials of a sweep."""

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter

from stemsplit.evaluation.spectrograms import write_figure

Value = float | str | bool | None
MOST_LABELLED = 10  # with more rows or columns, cells do not show their SDR
FRAME = "red"  # colour around the best trial


class Cell(NamedTuple):
    """A trial in a heat map."""

    x: Value
    y: Value
    decibels: float
    finished: bool  # False if the trial was pruned or is still running


class Scale(Enum):
    """How an axis shows a setting.

    Listed values are rows or columns. A range of numbers is a linear or logarithmic axis.
    """

    LISTED = "listed"
    LINEAR = "linear"
    LOGARITHMIC = "log"


class HeatMap(NamedTuple):
    """Two settings, and the trials that have values for both."""

    across: str
    down: str
    across_scale: Scale
    down_scale: Scale
    cells: Sequence[Cell]


def in_order(values: Sequence[Value]) -> list[Any]:
    """Distinct values: numbers first, in ascending order, then null and text."""
    return sorted(
        dict.fromkeys(values),
        key=lambda value: (
            (0, value, "") if isinstance(value, int | float) else (1, 0, str(value or ""))
        ),
    )


def heat_maps(maps: Sequence[HeatMap], path: Path, title: str) -> None:
    """Draw trials by pairs of settings as a PNG, coloured by their SDR.

    In each heat map, the best finished trial has a frame, and trials that are not finished are
    small.
    """
    figure = Figure(figsize=(5.2 * len(maps) + 1, 4.6), layout="constrained")
    axes = figure.subplots(1, len(maps), squeeze=False)
    decibels = [cell.decibels for heat_map in maps for cell in heat_map.cells]
    scale = Normalize(min(decibels), max(decibels))
    for axis, heat_map in zip(axes[0], maps, strict=True):
        draw(axis, heat_map, scale)
    colours = ScalarMappable(scale, "viridis")
    figure.colorbar(colours, ax=axes, label="SDR on the validation excerpts (dB)")
    figure.suptitle(title, parse_math=False)
    write_figure(figure, path)


def draw(axis: Axes, heat_map: HeatMap, scale: Normalize) -> None:
    cells = heat_map.cells
    x, columns = positions(
        axis.xaxis, heat_map.across, heat_map.across_scale, [cell.x for cell in cells]
    )
    y, rows = positions(axis.yaxis, heat_map.down, heat_map.down_scale, [cell.y for cell in cells])
    finished = [cell for cell in cells if cell.finished]
    best = max(finished, key=lambda cell: cell.decibels, default=None)
    if not columns or not rows:
        axis.scatter(
            x,
            y,
            s=[250 if cell.finished else 80 for cell in cells],
            c=[cell.decibels for cell in cells],
            norm=scale,
            cmap="viridis",
            marker="s",
            edgecolors=[FRAME if cell is best else "none" for cell in cells],
            linewidths=2,
        )
        axis.margins(0.1)
        return
    colour = matplotlib.colormaps["viridis"]
    for cell, across, down in zip(cells, x, y, strict=True):
        side = 0.94 if cell.finished else 0.6
        corner = (across - side / 2, down - side / 2)
        frame = FRAME if cell is best else "none"
        axis.add_patch(
            Rectangle(
                corner, side, side, facecolor=colour(scale(cell.decibels)), edgecolor=frame, lw=2
            )
        )
        if max(columns, rows) <= MOST_LABELLED:
            axis.annotate(
                f"{round(cell.decibels, 1) + 0.0:.1f}",  # + 0.0 avoids "-0.0"
                (across, down),
                ha="center",
                va="center",
                fontsize=8 if max(columns, rows) <= 6 else 6,
                color="white" if scale(cell.decibels) < 0.6 else "black",
            )
    axis.set_xlim(-0.55, columns - 0.45)
    axis.set_ylim(-0.55, rows - 0.45)


def positions(
    along: Axis, setting: str, scale: Scale, values: Sequence[Value]
) -> tuple[list[Any], int]:
    """Positions of values along an axis, and its number of rows or columns (0 for a range)."""
    along.set_label_text(setting, parse_math=False)
    if scale is Scale.LISTED:
        distinct = in_order(values)
        words = [f"{value:.3g}" if isinstance(value, float) else str(value) for value in distinct]
        along.set_ticks(range(len(distinct)), words, parse_math=False)
        if max(len(word) for word in words) * len(words) > 40:
            along.set_tick_params(labelrotation=45 if along is along.axes.xaxis else 0)
        return [distinct.index(value) for value in values], len(distinct)
    if scale is Scale.LOGARITHMIC:
        axes = along.axes
        (axes.set_xscale if along is axes.xaxis else axes.set_yscale)("log")
        along.set_minor_formatter(NullFormatter())
    return list(values), 0
