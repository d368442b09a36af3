"""SCNet as its authors published it: names of the weights, and numbers that their network gave.

`fixtures/scnet.json` holds the names and shapes of the weights of a small network with two blocks,
a window of 256 samples and a hop of 64. It also holds every 97th sample of the stems that the
network gave for `mixture()` with `weights()`, and the norms of the gradients of the stems' mean
square. "mono_level" holds the stems of the network before September 2024, which did not normalise
spectra, for a mixture with the level of one.
"""

import json
import math
from pathlib import Path

import torch
from torch import Tensor

NUMBERS = json.loads((Path(__file__).parent / "fixtures/scnet.json").read_text())
RATE, WINDOW, HOP = 8000, 256, 64
TIME, PADDING = 2000, 112  # the authors pad mixtures to an even number of frames
STEP = 97


def weights() -> dict[str, Tensor]:
    """The weights by the authors' names; the values follow from the order of the names."""
    return {
        name: values(shape, seed) for seed, (name, shape) in enumerate(NUMBERS["weights"].items())
    }


def values(shape: list[int], seed: int) -> Tensor:
    count = math.prod(shape)
    index = torch.arange(count, dtype=torch.float64)
    waves = torch.sin(0.7 * index + seed + 0.1 * index * index % 1)
    return (waves / max(1, count // shape[0]) ** 0.5).reshape(shape).float()


def mixture() -> Tensor:
    """A quarter of a second of tones, `(batch, channel, time)`, with silence at the end."""
    time = torch.arange(TIME, dtype=torch.float64) / RATE
    left = 0.3 * torch.sin(2 * math.pi * 440 * time) * torch.cos(7 * time * 2 * math.pi)
    right = 0.2 * torch.sin(2 * math.pi * (300 + 900 * time) * time + 1)
    return torch.nn.functional.pad(torch.stack([left, right]).float()[None], (0, PADDING))
