"""A short mixture, and the stems that a separator gives for it, to test copies of the separator."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from stemsplit.separation.separator import Separator

SECONDS = 0.5
CHORD_HERTZ = (110.0, 277.2, 659.3, 1480.0)


def probe_mixture(channels: int, sample_rate: int) -> Float[Tensor, "channel time"]:
    """Return a decaying chord with bursts of noise; the samples are in ±0.5.

    The channels differ. Calls with the same arguments return the same mixture.
    """
    time = np.arange(round(SECONDS * sample_rate)) / sample_rate
    noise = np.random.default_rng(0).uniform(-1, 1, (channels, len(time)))
    phase = np.arange(channels)[:, None]
    chord = sum(np.sin(2 * np.pi * hertz * time + phase) for hertz in CHORD_HERTZ)
    mixture = 0.3 * chord / len(CHORD_HERTZ) * np.exp(-2 * time)
    mixture += 0.2 * noise * np.exp(-30 * (time % 0.125))
    return torch.from_numpy(mixture.astype(np.float32))


def probe_stems(
    separator: Separator, mixture: Float[Tensor, "channel time"]
) -> Float[Tensor, "stem channel time"]:
    """Return the stems of the mixture, in the order of `separator.stems`."""
    stems = separator.separate(mixture, separator.sample_rate)
    return torch.stack([stems[name] for name in separator.stems])
