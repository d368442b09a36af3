"""Write MP3 files that every browser plays."""

import os
from pathlib import Path

import numpy as np
import soundfile

from stemsplit.audio.forms import Samples
from stemsplit.audio.resampling import resample
from stemsplit.files import replacing

MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


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
        # The path is passed as bytes, since soundfile cannot encode a name that is not UTF-8.
        soundfile.write(os.fsencode(partial), np.clip(samples, -1, 1).T, sample_rate, format="MP3")
