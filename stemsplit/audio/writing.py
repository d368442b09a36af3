"""Write audio files."""

from pathlib import Path

import soundfile

from stemsplit.audio.forms import Samples
from stemsplit.files import replacing

# A WAV file counts its bytes in 32 bits; this leaves room for its header.
WAV_BYTES = 2**32 - 2**16


def write(path: Path, samples: Samples, sample_rate: int) -> None:
    """A 32-bit float WAV file: nothing clips, and stems still sum to the mixture."""
    with replacing(path) as partial:
        form = container_of(samples.nbytes)
        soundfile.write(partial, samples.T, sample_rate, format=form, subtype="FLOAT")


def container_of(data_bytes: int) -> str:
    """libsndfile's name of the container: RF64 is WAV with 64-bit lengths."""
    return "WAV" if data_bytes <= WAV_BYTES else "RF64"
