"""Changes of the stems of a training batch, on the device, before they are summed to a mixture."""

from collections.abc import Sequence

import numpy as np
import torch

from stemsplit.errors import InputError
from stemsplit.shapes import Stems


class Augment:
    """Random gain of each stem, and its channels swapped half of the time (as open-unmix does).

    The draw is a function of the seed and of the batch's keys alone. With a gain range of
    `[1.0, 1.0]` and no swapping the stems pass unchanged.
    """

    def __init__(
        self, seed: int, gain: Sequence[float] = (0.25, 1.25), swap_channels: bool = True
    ) -> None:
        if len(gain) != 2 or not 0 <= gain[0] <= gain[1]:
            raise InputError(f"augment.gain {list(gain)} must be [least, most], both 0 or more")
        self.seed = seed
        self.gain = gain
        self.swap_channels = swap_channels

    def __call__(self, stems: Stems, keys: Sequence[tuple[int, int]]) -> Stems:
        # Beside the chunks' own draws of (seed, epoch, position): one number more.
        draws = [np.random.default_rng([self.seed, *key, 1]) for key in keys]
        count = stems.shape[1]
        low, high = self.gain
        gains = np.stack([draw.uniform(low, high, count) for draw in draws])
        stems = stems * torch.from_numpy(gains).to(stems)[:, :, None, None]
        if self.swap_channels:
            swaps = np.stack([draw.random(count) < 0.5 for draw in draws])
            swap = torch.from_numpy(swaps).to(stems.device)[:, :, None, None]
            stems = torch.where(swap, stems.flip(2), stems)
        return stems
