"""A zero-phase equaliser with smooth bands."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.fft import next_fast_len
from torch import Tensor

from stemsplit.models.shapes import Waveform

PERIODS = 4  # length of the impulse response to either side, in periods of the lowest frequency


def band_centres(hertz: Sequence[float]) -> Float[np.ndarray, " band"]:
    """Centre frequencies in Hz of the bands in a range, about an octave apart."""
    low, high = hertz
    bands = max(1, round(math.log2(high / low)) - 1)
    return np.geomspace(low, high, bands + 2)[1:-1]


def equalise(
    samples: Waveform,
    decibels: Float[np.ndarray, "batch band"],
    hertz: Sequence[float],
    sample_rate: int,
) -> Waveform:
    """Apply to each waveform its gains in dB at the `band_centres` of the range `hertz`.

    All channels of a waveform have the same gains. Between two centres, the gain in dB is
    interpolated by a cosine over log frequency. Outside the range, the gain is 0 dB. The filter has
    zero phase, and the waveform is padded with silence.
    """
    time = samples.shape[-1]
    length = next_fast_len(time + round(PERIODS * sample_rate / hertz[0]), real=True)
    frequencies = np.fft.rfftfreq(length, 1 / sample_rate)
    gains = torch.from_numpy(decibels).to(samples) @ _band_weights(frequencies, hertz).to(samples)
    factors = torch.pow(10, gains / 20)[:, None]
    return torch.fft.irfft(torch.fft.rfft(samples, length) * factors, length)[..., :time]


def _band_weights(
    frequencies: Float[np.ndarray, " freq"], hertz: Sequence[float]
) -> Float[Tensor, "band freq"]:
    """Weight of each band at each frequency: 1 at its centre, 0 at the neighbouring centres."""
    centres = np.log2(band_centres(hertz))
    spacing = centres[0] - math.log2(hertz[0])
    distance = (np.log2(np.maximum(frequencies, 1e-3)) - centres[:, None]) / spacing
    return torch.from_numpy(0.5 + 0.5 * np.cos(np.pi * distance.clip(-1, 1)))
