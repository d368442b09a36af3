"""Draw the spectrograms of a song's stems for the page, all with the same range of colours."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import soundfile
from jaxtyping import Complex, Float
from matplotlib.image import imsave

WINDOW = 4096
COLUMNS = 1000
COLUMNS_AT_ONCE = 40
# A column shows the maximum of this number of frames. A long song has gaps between the frames.
FRAMES_PER_COLUMN = 2
ROWS = 160
LOWEST_HERTZ = 50.0
HIGHEST_HERTZ = 16000.0
RANGE_DECIBELS = 80.0


def draw(stems: Sequence[Path], folder: Path) -> list[Path]:
    """Draw the mixture as ``0.png``, and the stems as ``1.png``, ``2.png`` ….

    The mixture is the sum of the stems. The horizontal axis spans the complete song. The vertical
    axis spans `hertz_range` and is logarithmic. The loudest point of all pictures has the brightest
    colour. Points that are lower by `RANGE_DECIBELS` or more are black. The memory that is needed
    does not depend on the length of the song.
    """
    with ExitStack() as opened:
        files = [opened.enter_context(soundfile.SoundFile(path)) for path in stems]
        bands = band_edges(files[0].samplerate)
        columns = [
            np.maximum.reduceat(
                np.abs(np.concatenate([spectra.sum(axis=0, keepdims=True), spectra]))
                .reshape(len(files) + 1, -1, FRAMES_PER_COLUMN, spectra.shape[-1])
                .max(axis=2),
                bands,
                axis=-1,
            )[..., :-1]
            for spectra in frames(files)
        ]
    magnitudes = np.concatenate(columns, axis=1)
    loudest = magnitudes.max() or 1.0
    decibels = 20 * np.log10(np.maximum(magnitudes / loudest, 1e-9))
    pictures = [folder / f"{number}.png" for number in range(len(decibels))]
    for picture, pixels in zip(pictures, decibels, strict=True):
        imsave(picture, pixels.T, cmap="magma", vmin=-RANGE_DECIBELS, vmax=0, origin="lower")
    return pictures


def hertz_range(sample_rate: int) -> tuple[float, float]:
    """The frequencies at the lower and the upper edge of a picture."""
    return LOWEST_HERTZ, min(HIGHEST_HERTZ, sample_rate / 2)


def band_edges(sample_rate: int) -> list[int]:
    """The first bin of each row of a picture, and the first bin above the last row."""
    hertz = np.geomspace(*hertz_range(sample_rate), ROWS + 1)
    return (hertz * WINDOW / sample_rate).round().astype(int).clip(max=WINDOW // 2).tolist()


def frames(
    files: Sequence[soundfile.SoundFile],
) -> Iterator[Complex[np.ndarray, "stem frame freq"]]:
    """Spectra of evenly spaced frames of the song, `COLUMNS_AT_ONCE` columns at a time."""
    count = COLUMNS * FRAMES_PER_COLUMN
    starts = np.linspace(0, max(0, files[0].frames - WINDOW), count).astype(int)
    window = np.hanning(WINDOW).astype(np.float32)
    for part in starts.reshape(-1, COLUMNS_AT_ONCE * FRAMES_PER_COLUMN).tolist():
        samples = np.stack([[window_at(file, start) for start in part] for file in files])
        yield np.fft.rfft(samples.mean(axis=-1) * window).astype(np.complex64, copy=False)


def window_at(file: soundfile.SoundFile, start: int) -> Float[np.ndarray, "time channel"]:
    """`WINDOW` samples of a file, padded with silence after the end of the song."""
    file.seek(start)
    return file.read(WINDOW, dtype="float32", always_2d=True, fill_value=0)
