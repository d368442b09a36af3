"""The time of a step and its wait for data are measured."""

import time
from collections.abc import Callable

import lightning as L
import pytest
from lightning.pytorch.loggers import Logger

from stemsplit.training.callbacks.timing import Timing
from stemsplit.training.module import SeparationModule


class MemoryLogger(Logger):
    def __init__(self) -> None:
        super().__init__()
        self.metrics: list[dict[str, float]] = []

    name = version = ""

    def log_hyperparams(self, *arguments: object) -> None: ...

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.metrics.append(metrics)


def test_step_and_wait_times_are_epoch_means(
    songs: Callable, trainer: Callable[..., L.Trainer], module: SeparationModule
) -> None:
    class Slow(L.Callback):
        def on_train_batch_start(self, *arguments: object) -> None:
            time.sleep(0.03)

    data = songs(4)
    make_loader = data.train_dataloader

    def slow_batches() -> object:
        for batch in make_loader():
            time.sleep(0.02)
            yield batch

    def arrived(batch: object, dataloader_idx: int) -> object:
        data.arrived = time.perf_counter()
        return batch

    data.train_dataloader = lambda: Repeatable(slow_batches)
    data.on_before_batch_transfer = arrived
    logger = MemoryLogger()
    trainer(Timing(), Slow(), logger=logger, max_epochs=2).fit(module, data)
    times = [metrics for metrics in logger.metrics if "time/step_seconds" in metrics]
    assert len(times) == 2
    for metrics in times:
        step_seconds = metrics["time/step_seconds"]
        assert 0.05 <= step_seconds < 0.3
        assert 0.02 <= metrics["time/data_wait_seconds"] <= step_seconds - 0.03


class Repeatable:
    """An iterable that calls a generator function for each iteration."""

    def __init__(self, generator: Callable) -> None:
        self.generator = generator

    def __iter__(self) -> object:
        return self.generator()

    def __len__(self) -> int:
        return 4


@pytest.mark.parametrize("epochs", [1])
def test_wait_is_zero_without_arrival_times(
    songs: Callable, trainer: Callable[..., L.Trainer], module: SeparationModule, epochs: int
) -> None:
    logger = MemoryLogger()
    trainer(Timing(), logger=logger, max_epochs=epochs).fit(module, songs(2))
    [times] = [metrics for metrics in logger.metrics if "time/step_seconds" in metrics]
    assert times["time/data_wait_seconds"] == 0
