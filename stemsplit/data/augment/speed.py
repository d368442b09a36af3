"""Change the speed of sounds, and thus their pitch and length, by band-limited resampling.

The method is from J. O. Smith, "Digital Audio Resampling", with one filter for each speed. Speeds
are rounded to multiples of 1 / `GRID`. The rounding error is at most 3.4 cents at speed 1, and 6.8
cents at speed 0.5. An output sample lies between two input samples. With rounded speeds, its
distance from them repeats every `GRID` output samples, so one matrix product computes all samples.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from stemsplit.models.shapes import Waveform

GRID = 256
REACH = 24  # input samples to either side that contribute to one output sample

Speeds = Float[np.ndarray, " batch"]


def nearest(speeds: Float[np.ndarray, "*each"]) -> Float[np.ndarray, "*each"]:
    """Round speeds to multiples of 1 / `GRID`."""
    return np.rint(speeds * GRID) / GRID


def samples_read(speed: float, time: int) -> int:
    """Number of input samples for `time` output samples."""
    return int(np.ceil(speed * time)) + REACH


def at_speed(samples: Waveform, speeds: Speeds, time: int) -> Float[Tensor, "batch channel _"]:
    """Play each waveform at its speed (2: twice as fast, an octave up); return `time` samples.

    Output sample t is input sample speed × t. The speeds must be multiples of 1 / `GRID` (see
    `nearest`). Frequencies above half the sample rate are removed; the waveform is padded with
    silence.
    """
    strides = np.rint(speeds * GRID).astype(np.int64)
    filters = _filters(torch.from_numpy(strides).to(samples.device)).to(samples.dtype)
    blocks, taps = -(-time // GRID), filters.shape[1]
    firsts = torch.from_numpy(strides[:, None] * np.arange(blocks)).to(samples.device)
    after = max(0, int(firsts.max()) + taps - REACH - samples.shape[-1])
    views = functional.pad(samples, (REACH, after)).unfold(-1, taps, 1)
    examples = torch.arange(len(samples), device=samples.device)[:, None]
    read = views[examples, :, firsts]  # (batch, block, channel, tap)
    with torch.autocast(samples.device.type, enabled=False):
        result = read.flatten(1, 2) @ filters
    return result.view(*read.shape[:3], GRID).transpose(1, 2).flatten(2)[..., :time]


def _filters(strides: Tensor) -> Float[Tensor, "batch tap place"]:
    """Hann-windowed sinc filters: for each output sample of a block, the weights of the inputs."""
    speeds = strides[:, None, None].float() / GRID
    taps = torch.arange(-REACH, int(strides.max()) + REACH, device=strides.device)[:, None]
    distance = speeds * torch.arange(GRID, device=strides.device) - taps
    cutoff = (1 / speeds).clamp(max=1)  # in multiples of half the sample rate
    window = torch.cos(distance.clamp(-REACH, REACH) * (torch.pi / 2 / REACH)).square()
    return cutoff * torch.sinc(cutoff * distance) * window
