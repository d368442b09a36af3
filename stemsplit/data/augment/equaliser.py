"""Raise and lower frequency bands smoothly, with zero phase."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.fft import next_fast_len
from torch import Tensor

from stemsplit.models.shapes import Waveform

PERIODS = 4  # of the lowest frequency: for so long the filter is heard before and after a sound


def band_centres(hertz: Sequence[float]) -> Float[np.ndarray, " band"]:
    """Centres in Hz of the bands in a range: about an octave apart and from the range's ends."""
    low, high = hertz
    bands = max(1, round(math.log2(high / low)) - 1)
    return np.geomspace(low, high, bands + 2)[1:-1]


def equalise(
    samples: Waveform,
    decibels: Float[np.ndarray, "batch band"],
    hertz: Sequence[float],
    sample_rate: int,
) -> Waveform:
    """Each waveform with gains of its own at the `band_centres`, the same for its channels.

    Between two centres the gain in dB goes from one to the other along a cosine over the logarithm
    of the frequency; outside the range nothing changes. The filter has no phase, and what it needs
    from outside the waveform is taken to be silence.
    """
    time = samples.shape[-1]
    length = next_fast_len(time + round(PERIODS * sample_rate / hertz[0]), real=True)
    frequencies = np.fft.rfftfreq(length, 1 / sample_rate)
    gains = torch.from_numpy(decibels).to(samples) @ _shapes(frequencies, hertz).to(samples)
    factors = torch.pow(10, gains / 20)[:, None]
    return torch.fft.irfft(torch.fft.rfft(samples, length) * factors, length)[..., :time]


def _shapes(
    frequencies: Float[np.ndarray, " freq"], hertz: Sequence[float]
) -> Float[Tensor, "band freq"]:
    """How much each band has of each frequency: one at its centre, none at its neighbours'."""
    centres = np.log2(band_centres(hertz))
    spacing = centres[0] - math.log2(hertz[0])
    away = (np.log2(np.maximum(frequencies, 1e-3)) - centres[:, None]) / spacing
    return torch.from_numpy(0.5 + 0.5 * np.cos(np.pi * away.clip(-1, 1)))
