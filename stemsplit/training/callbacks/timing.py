"""Measure the time of a training step, and the part of it spent waiting for data."""

from time import perf_counter
from typing import Any

import lightning as L

from stemsplit.training.module import SeparationModule


class Timing(L.Callback):
    """Logs ``time/step_seconds`` and ``time/data_wait_seconds``, means over the steps of an epoch.

    A step lasts from the end of one batch to the end of the next; validation and work between
    epochs do not count. The wait is the time from the end of a step until the data module has the
    next batch. It is 0 if the data loader is fast enough. An accelerator may still compute while
    the next batch is loaded, because this callback does not wait for the accelerator.
    """

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self.steps = 0
        self.seconds = 0.0
        self.waited = 0.0
        self._before = perf_counter()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._start()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        arrived = getattr(trainer.datamodule, "arrived", None)  # type: ignore[attr-defined]
        if arrived is not None:
            self.waited += max(0.0, arrived - self._before)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        now = perf_counter()
        self.seconds += now - self._before
        self._before = now
        self.steps += 1

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._before = perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.steps and isinstance(pl_module, SeparationModule):
            pl_module.log_now(
                {
                    "time/step_seconds": self.seconds / self.steps,
                    "time/data_wait_seconds": self.waited / self.steps,
                }
            )
