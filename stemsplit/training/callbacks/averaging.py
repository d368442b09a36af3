"""Exponential moving average of the weights, which is validated, saved and loaded."""

from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class MovingAverage(WeightAveraging):
    """Weights averaged from the first step, with a decay that grows to `decay`.

    After n steps it is min(decay, (1 + n) / (10 + n)), so that a short run's average is not that of
    the weights it started with. Buffers (the running statistics of batch norm) are averaged too.
    """

    def __init__(self, decay: float = 0.999) -> None:
        def average(averaged: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
            share = 1 - min(decay, (1 + int(steps)) / (10 + int(steps)))
            return averaged + share * (current - averaged)

        super().__init__(use_buffers=True, avg_fn=average)
