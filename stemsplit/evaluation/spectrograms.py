"""Draw spectrograms side by side on one scale."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import librosa
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from stemsplit.files import replacing

WINDOW = 2048
RANGE_DECIBELS = 80


def spectrogram_comparison(
    signals: Mapping[str, Float[np.ndarray, "channel time"]],
    sample_rate: int,
    path: Path,
    title: str,
    dpi: int = 80,
) -> None:
    """Draw spectrograms side by side as a PNG; 0 dB is the largest magnitude of all signals.

    `signals` maps the title of each spectrogram to its samples in ±1. NaN and infinity are drawn
    as silence.
    """
    magnitudes = {name: magnitude(samples) for name, samples in signals.items()}
    loudest = max(float(frequencies.max()) for frequencies in magnitudes.values()) or 1.0
    # pyplot would change the backend of the whole program, for instance of a notebook.
    figure = Figure(figsize=(5 * len(signals), 4.2), layout="constrained")
    axes = figure.subplots(1, len(signals), sharey=True, squeeze=False)[0]
    for axis, (name, frequencies) in zip(axes, magnitudes.items(), strict=True):
        image = librosa.display.specshow(
            librosa.amplitude_to_db(frequencies, ref=loudest, top_db=None),
            sr=sample_rate,
            hop_length=WINDOW // 4,
            x_axis="time",
            y_axis="log",
            cmap="magma",
            vmin=-RANGE_DECIBELS,
            vmax=0,
            ax=axis,
        )
        axis.set_title(name, parse_math=False)  # a stem's name may contain dollar signs
        axis.set(xlabel="time (s)", ylabel="frequency (Hz)", ylim=(50, sample_rate / 2))
        axis.label_outer()
    figure.colorbar(image, ax=axes, format="%.0f dB", label="magnitude")
    figure.suptitle(title, parse_math=False)
    write_figure(figure, path, dpi)


def magnitude(samples: Float[np.ndarray, "channel time"]) -> Float[np.ndarray, "freq frame"]:
    """STFT magnitudes of the mean of the channels, in double precision to avoid overflow."""
    mono = np.nan_to_num(samples.astype(np.float64), posinf=0, neginf=0).mean(axis=0)
    padded = np.pad(mono, (0, max(0, WINDOW - len(mono))))
    return np.abs(librosa.stft(padded, n_fft=WINDOW))


def write_figure(figure: Figure, path: Path, dpi: int = 80) -> None:
    """Write a PNG. Characters without a glyph in any installed font appear as boxes."""
    with replacing(path) as partial, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(partial, format="png", dpi=dpi)
