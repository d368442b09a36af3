"""Write audio files."""

import os
from pathlib import Path

import numpy as np
import soundfile

from stemsplit.audio.forms import Samples
from stemsplit.audio.resampling import resample
from stemsplit.files import replacing

# Limit of the 32-bit sizes in a WAV file, with room for its header.
WAV_BYTES = 2**32 - 2**16
BLOCK = 2**20  # samples
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


def write(path: Path, samples: Samples, sample_rate: int) -> None:
    """Write a 32-bit float WAV file, so that nothing clips and stems still sum to the mixture."""
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


def write_mp3(path: Path, samples: Samples, sample_rate: int) -> None:
    """Write an MP3 file; average the channels if there are more than two.

    Samples beyond ±1 are clipped. If MP3 lacks the sample rate, the samples are converted to the
    next higher rate of MP3, or to 48 kHz if there is no higher rate.
    """
    if len(samples) > 2:
        samples = samples.mean(axis=0, keepdims=True)
    if sample_rate not in MP3_RATES:
        mp3_rate = min((rate for rate in MP3_RATES if rate > sample_rate), default=MP3_RATES[-1])
        samples = resample(samples, sample_rate, mp3_rate)
        sample_rate = mp3_rate
    with replacing(path) as partial:
        soundfile.write(partial, np.clip(samples, -1, 1).T, sample_rate, format="MP3")
