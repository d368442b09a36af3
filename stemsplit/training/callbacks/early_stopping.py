"""Early stopping that also works for resumed runs."""

import logging
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping

log = logging.getLogger(__name__)


class RunEarlyStopping(EarlyStopping):
    """Early stopping that logs its reason and does not train further after resuming.

    Lightning's `EarlyStopping` saves the number of epochs without improvement, but not that the
    training has stopped. The current `patience` replaces the saved one, so that a stopped run can
    be resumed with more patience.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "patience": self.patience})

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.stopping_reason_message and self.wait_count >= self.patience:
            trainer.should_stop = True

    def _run_early_stopping_check(self, trainer: L.Trainer) -> None:
        super()._run_early_stopping_check(trainer)
        if trainer.should_stop and self.stopping_reason_message and trainer.is_global_zero:
            log.warning(f"epoch {trainer.current_epoch}: {self.stopping_reason_message}")
