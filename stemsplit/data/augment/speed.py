"""Change the speed of sounds, and with it pitch and length, by band-limited resampling.

The speed is a multiple of 1 / `GRID` (at most 3.4 cents beside any other), so the places to read
lie in the same way between the samples every `GRID` samples of the result, and a matrix product
reads them: J. O. Smith, "Digital Audio Resampling", with a filter of its own for each speed.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from stemsplit.models.shapes import Waveform

GRID = 256
REACH = 24  # samples of the input to either side that a sample of the result is made of

Speeds = Float[np.ndarray, " batch"]


def nearest(speeds: Float[np.ndarray, "*each"]) -> Float[np.ndarray, "*each"]:
    """The nearest speeds that there are."""
    return np.rint(speeds * GRID) / GRID


def samples_read(speed: float, time: int) -> int:
    """How many samples `time` samples at a speed are made of."""
    return int(np.ceil(speed * time)) + REACH


def at_speed(samples: Waveform, speeds: Speeds, time: int) -> Float[Tensor, "batch channel _"]:
    """Each waveform at its own speed on the grid (2: twice as fast, an octave up), `time` samples.

    Sample t of the result is sample speed × t of the waveform. What would come to lie above half
    the sample rate is left out; outside the waveform is silence.
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
    """Sinc functions under a Hann window: weights of the samples around each place of a block."""
    speeds = strides[:, None, None].float() / GRID
    taps = torch.arange(-REACH, int(strides.max()) + REACH, device=strides.device)[:, None]
    away = speeds * torch.arange(GRID, device=strides.device) - taps
    cutoff = (1 / speeds).clamp(max=1)  # as a part of half the sample rate
    window = torch.cos(away.clamp(-REACH, REACH) * (torch.pi / 2 / REACH)).square()
    return cutoff * torch.sinc(cutoff * away) * window
