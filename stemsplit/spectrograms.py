"""Spectrograms side by side, on one scale."""

from collections.abc import Mapping
from pathlib import Path

import librosa
import matplotlib
import numpy as np
from jaxtyping import Float

from stemsplit.files import replacing

matplotlib.use("Agg")  # before pyplot: there may be no screen
from matplotlib import pyplot
from matplotlib.figure import Figure

WINDOW = 2048
RANGE_DECIBELS = 80


def spectrogram_comparison(
    signals: Mapping[str, Float[np.ndarray, "channel time"]],
    sample_rate: int,
    path: Path,
    title: str,
    dpi: int = 80,
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
    write_figure(figure, path, dpi)


def write_figure(figure: Figure, path: Path, dpi: int = 80) -> None:
    """As a PNG; the figure is closed."""
    try:
        with replacing(path) as partial:
            figure.savefig(partial, format="png", dpi=dpi)
    finally:
        pyplot.close(figure)
