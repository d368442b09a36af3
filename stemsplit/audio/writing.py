"""Write audio files."""

import os
from pathlib import Path

import soundfile

from stemsplit.audio.forms import Samples
from stemsplit.files import replacing

# Limit of the 32-bit sizes in a WAV file, with room for its header.
WAV_BYTES = 2**32 - 2**16
BLOCK = 2**20  # samples


def write(path: Path, samples: Samples, sample_rate: int) -> None:
    """Write a 32-bit float WAV file: nothing clips, and stems still sum to the mixture."""
    form = container_of(samples.nbytes)
    with (
        replacing(path) as partial,
        # The path is passed as bytes, since soundfile cannot encode a name that is not UTF-8.
        soundfile.SoundFile(
            os.fsencode(partial),
            mode="w",
            samplerate=sample_rate,
            channels=len(samples),
            subtype="FLOAT",
            format=form,
        ) as file,
    ):
        # libsndfile needs interleaved channels; blocks avoid a copy of the whole song.
        for start in range(0, samples.shape[1], BLOCK):
            file.write(samples[:, start : start + BLOCK].T)


def container_of(data_bytes: int) -> str:
    """Return libsndfile's name of the container: WAV, or RF64 with its 64-bit lengths."""
    return "WAV" if data_bytes <= WAV_BYTES else "RF64"
