"""Pictures of what was separated, and of what a sweep tried."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import librosa
import matplotlib
import numpy as np
from jaxtyping import Float

from stemsplit.files import replacing

matplotlib.use("Agg")  # before pyplot: there may be no screen
from matplotlib import pyplot

WINDOW = 2048
RANGE_DECIBELS = 80
MOST_COLUMNS = 8


def spectrogram_comparison(
    signals: Mapping[str, Float[np.ndarray, "channel time"]],
    sample_rate: int,
    path: Path,
    title: str,
) -> None:
    """Spectrograms side by side as a PNG: one scale of loudness, 0 dB at the loudest of all."""
    magnitudes = {
        name: np.abs(librosa.stft(samples.mean(axis=0), n_fft=WINDOW))
        for name, samples in signals.items()
    }
    loudest = max(float(magnitude.max()) for magnitude in magnitudes.values()) or 1.0
    figure, axes = pyplot.subplots(
        1, len(signals), figsize=(5 * len(signals), 4.2), sharey=True, layout="constrained"
    )
    for axis, (name, magnitude) in zip(np.atleast_1d(axes), magnitudes.items(), strict=True):
        image = librosa.display.specshow(
            librosa.amplitude_to_db(magnitude, ref=loudest, top_db=None),
            sr=sample_rate,
            hop_length=WINDOW // 4,
            x_axis="time",
            y_axis="log",
            cmap="magma",
            vmin=-RANGE_DECIBELS,
            vmax=0,
            ax=axis,
        )
        axis.set(title=name, xlabel="time (s)", ylabel="frequency (Hz)", ylim=(50, sample_rate / 2))
        axis.label_outer()
    figure.colorbar(image, ax=axes, format="%+.0f dB")
    figure.suptitle(title)
    try:
        with replacing(path) as partial:
            figure.savefig(partial, format="png", dpi=80)
    finally:
        pyplot.close(figure)


class Cell(NamedTuple):
    """A trial in a heat map."""

    x: float | str
    y: float | str
    decibels: float
    finished: bool  # not pruned


def in_order(values: Iterable[float | str]) -> list[Any]:
    """Without repetition, numbers before words."""
    return sorted(set(values), key=lambda value: (isinstance(value, str), value))


def heat_map(cells: Sequence[Cell], across: str, down: str, path: Path, title: str) -> None:
    """Trials by two settings as a PNG, coloured by their figure; the best is framed.

    Settings of few values are rows and columns; others are numbers on a logarithmic scale. What was
    pruned is small.
    """
    figure, axis = pyplot.subplots(figsize=(6.4, 4.8), layout="constrained")
    places: list[list[Any]] = []
    for setting, values, along in (
        (across, [cell.x for cell in cells], axis.xaxis),
        (down, [cell.y for cell in cells], axis.yaxis),
    ):
        distinct = in_order(values)
        if len(distinct) <= MOST_COLUMNS:
            places.append([distinct.index(value) for value in values])
            along.set_ticks(range(len(distinct)), [f"{value}" for value in distinct])
            along.axes.margins(0.6 / max(1, len(distinct) - 0.5))
        else:
            places.append(values)
            (axis.set_xscale if along is axis.xaxis else axis.set_yscale)("log")
        along.set_label_text(setting)
    best = max((cell for cell in cells if cell.finished), key=lambda cell: cell.decibels)
    x, y = places
    lowest, highest = (side(cell.decibels for cell in cells) for side in (min, max))
    light = lowest + 0.6 * (highest - lowest)
    shown = axis.scatter(
        x,
        y,
        c=[cell.decibels for cell in cells],
        s=[1400 if cell.finished else 300 for cell in cells],
        marker="s",
        cmap="viridis",
        edgecolors=["red" if cell is best else "none" for cell in cells],
        linewidths=2,
    )
    for cell, place in zip(cells, zip(x, y, strict=True), strict=True):
        axis.annotate(
            f"{cell.decibels:.1f}",
            place,
            ha="center",
            va="center",
            fontsize=8,
            color="black" if cell.decibels > light else "white",
        )
    figure.colorbar(shown, label="SDR on the validation songs (dB)")
    axis.set_title(title)
    try:
        with replacing(path) as partial:
            figure.savefig(partial, format="png", dpi=100)
    finally:
        pyplot.close(figure)
