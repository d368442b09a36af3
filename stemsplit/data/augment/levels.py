"""Set the level of the targets relative to the rest of the mixture."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from stemsplit.models.shapes import Stems

SILENCE_DECIBELS = -60  # of full scale; bleed below it is not to decide how loud the music is


def with_snr(stems: Stems, targets: Sequence[int], decibels: Float[np.ndarray, " batch"]) -> Stems:
    """Each example with the sum of its `targets` so many dB above the sum of the other stems.

    The louder of the two is turned down, never the other up: nothing clips. Where either is silent
    there is no ratio, and the stems stay as they are.
    """
    rest = [stem for stem in range(stems.shape[1]) if stem not in targets]
    target_level, rest_level = (_root_mean_square(stems[:, part]) for part in (list(targets), rest))
    wanted = torch.from_numpy(10 ** (decibels / 20)).to(stems)
    factor = wanted * rest_level / target_level  # of the targets, beside the rest
    silent = torch.minimum(target_level, rest_level) < 10 ** (SILENCE_DECIBELS / 20)
    factor = torch.where(silent, 1, factor)
    factors = (1 / factor).clamp(max=1)[:, None].repeat(1, stems.shape[1])
    factors[:, list(targets)] = factor.clamp(max=1)[:, None]
    return stems * factors[:, :, None, None]


def _root_mean_square(stems: Stems) -> Tensor:
    """Of the sum of the stems, over channels and time."""
    return stems.sum(dim=1).square().mean(dim=(1, 2)).sqrt()
