"""Set the level of the targets relative to the other stems."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from stemsplit.models.shapes import Stems

# Level in dB full scale. A quieter sum is silence or bleed, which must not determine the gain of
# the music.
SILENCE_DECIBELS = -60


def with_snr(stems: Stems, targets: Sequence[int], decibels: Float[np.ndarray, " batch"]) -> Stems:
    """Scale the stems so that the sum of `targets` is `decibels` above the sum of the other stems.

    The function attenuates one of the two sums and never amplifies, so nothing clips. An example
    stays unchanged if either sum is silent.
    """
    rest = [stem for stem in range(stems.shape[1]) if stem not in targets]
    target_level, rest_level = (_root_mean_square(stems[:, part]) for part in (list(targets), rest))
    ratio = torch.from_numpy(10 ** (decibels / 20)).to(stems)
    factor = ratio * rest_level / target_level  # gain of the targets relative to the rest
    silent = torch.minimum(target_level, rest_level) < 10 ** (SILENCE_DECIBELS / 20)
    factor = torch.where(silent, 1, factor)
    factors = (1 / factor).clamp(max=1)[:, None].repeat(1, stems.shape[1])
    factors[:, list(targets)] = factor.clamp(max=1)[:, None]
    return stems * factors[:, :, None, None]


def _root_mean_square(stems: Stems) -> Tensor:
    """Root mean square of the sum of the stems, over channels and time."""
    return stems.sum(dim=1).square().mean(dim=(1, 2)).sqrt()
