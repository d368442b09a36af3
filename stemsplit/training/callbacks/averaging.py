"""Exponential moving average of the weights, used for validation and checkpoints."""

from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class MovingAverage(WeightAveraging):
    """Exponential moving average of the weights with a decay that increases up to `decay`.

    After n steps, the decay is min(decay, (1 + n) / (10 + n)), so that the initial weights do not
    dominate the average of a short run. Buffers, such as running statistics of batch norm, are
    averaged too.
    """

    def __init__(self, decay: float = 0.999) -> None:
        def average(averaged: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
            share = 1 - min(decay, (1 + int(steps)) / (10 + int(steps)))
            return averaged + share * (current - averaged)

        super().__init__(use_buffers=True, avg_fn=average)
