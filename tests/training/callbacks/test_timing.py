"""Seconds per step, and those of them that wait for data."""

import time
from collections.abc import Callable

import lightning as L
import pytest
from lightning.pytorch.loggers import Logger

from stemsplit.training.callbacks.timing import Timing
from stemsplit.training.module import SeparationModule


class Kept(Logger):
    def __init__(self) -> None:
        super().__init__()
        self.metrics: list[dict[str, float]] = []

    name = version = ""

    def log_hyperparams(self, *arguments: object) -> None: ...

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.metrics.append(metrics)


def test_steps_and_waits_are_means_over_an_epoch(
    songs: Callable, trainer: Callable[..., L.Trainer], module: SeparationModule
) -> None:
    class Slow(L.Callback):
        def on_train_batch_start(self, *arguments: object) -> None:
            time.sleep(0.03)

    data = songs(4)
    real = data.train_dataloader

    def read() -> object:
        for batch in real():
            time.sleep(0.02)
            yield batch

    def arrived(batch: object, dataloader_idx: int) -> object:
        data.arrived = time.perf_counter()
        return batch

    data.train_dataloader = lambda: list_of(read)
    data.on_before_batch_transfer = arrived
    logger = Kept()
    trainer(Timing(), Slow(), logger=logger, max_epochs=2).fit(module, data)
    found = [one for one in logger.metrics if "time/step_seconds" in one]
    assert len(found) == 2
    for one in found:
        assert 0.05 <= one["time/step_seconds"] < 0.3
        assert 0.02 <= one["time/data_wait_seconds"] <= one["time/step_seconds"] - 0.03


class list_of:  # noqa: N801 – reads like what it is
    """Something to go through again and again."""

    def __init__(self, read: Callable) -> None:
        self.read = read

    def __iter__(self) -> object:
        return self.read()

    def __len__(self) -> int:
        return 4


@pytest.mark.parametrize("epochs", [1])
def test_a_data_module_that_tells_nothing_has_no_waits(
    songs: Callable, trainer: Callable[..., L.Trainer], module: SeparationModule, epochs: int
) -> None:
    logger = Kept()
    trainer(Timing(), logger=logger, max_epochs=epochs).fit(module, songs(2))
    [found] = [one for one in logger.metrics if "time/step_seconds" in one]
    assert found["time/data_wait_seconds"] == 0
