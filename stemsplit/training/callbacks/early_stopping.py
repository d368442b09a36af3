"""Early stopping that also works for resumed runs."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping

log = logging.getLogger(__name__)


class RunEarlyStopping(EarlyStopping):
    """Early stopping that logs its reason. A stopped run stops again when it is resumed.

    Lightning's `EarlyStopping` saves the number of epochs without improvement, but not that the
    training has stopped. To continue a stopped run, resume it with a larger `patience`, which
    replaces the saved value.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "patience": self.patience})

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.stopping_reason_message and self.wait_count >= self.patience:
            trainer.should_stop = True

    # Lightning checks the metric in one of these hooks, depending on check_on_train_epoch_end.
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        with self._reporting(trainer):
            super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        with self._reporting(trainer):
            super().on_train_epoch_end(trainer, pl_module)

    @contextmanager
    def _reporting(self, trainer: L.Trainer) -> Iterator[None]:
        """Log the reason if a check inside the block decides to stop the training."""
        before, self.stopping_reason_message = self.stopping_reason_message, None
        yield
        if self.stopping_reason_message is None:
            self.stopping_reason_message = before
        elif trainer.is_global_zero:
            log.warning(f"epoch {trainer.current_epoch}: {self.stopping_reason_message}")
