"""Report silent batches, from which a network cannot learn."""

import logging
from typing import Any, cast

import lightning as L
import torch

from stemsplit import processes
from stemsplit.models.shapes import Batch
from stemsplit.training.callbacks.batches import describe
from stemsplit.training.module import SeparationModule


class ReportSilence(L.Callback):
    """Warns of the first batch whose mixture is silent or whose loss is exactly zero.

    The warning names the songs and positions of the batch. The number of such batches in each epoch
    is logged as ``train/silent_batches``.
    """

    def __init__(self) -> None:
        self.count = 0
        self.reported = False

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        loudness = torch.linalg.vector_norm(batch.mixture)  # much cheaper than any()
        zero, silent = torch.stack([outputs["loss"] == 0, loudness == 0]).tolist()
        if not (zero or silent):
            return
        self.count += 1
        if not self.reported:
            self.reported = True
            problem = "the mixture is silent" if silent else "the loss is exactly zero"
            logging.getLogger(__name__).warning(
                f"epoch {trainer.current_epoch}, batch {batch_idx}: {problem} in "
                f"{describe(trainer, batch.keys)}; the metric train/silent_batches counts further "
                "batches like this"
            )

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        total = sum(processes.gather([self.count]))
        cast(SeparationModule, pl_module).log_now({"train/silent_batches": float(total)})
        self.count = 0

    def state_dict(self) -> dict[str, Any]:
        return {"count": sum(processes.gather([self.count])), "reported": self.reported}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.count = state_dict["count"] if processes.rank() == 0 else 0
        self.reported = state_dict["reported"]
