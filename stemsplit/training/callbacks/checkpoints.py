"""Checkpoints that are written atomically, in a run folder that can be moved."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from stemsplit.files import replacing


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically, so that a killed run keeps its previous checkpoint."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        with replacing(Path(path)) as partial:
            torch.save(checkpoint, partial)


class RunCheckpoint(ModelCheckpoint):
    """Checkpoint in a run folder that may be moved before the training is resumed.

    The checkpoint is written at the end of epochs or, with `every_minutes`, within epochs. If the
    folder was moved, Lightning's `ModelCheckpoint` forgets the best score, and the next epoch
    overwrites the best checkpoint. This class keeps the score.
    """

    def __init__(self, every_minutes: float | None = None, **arguments: Any) -> None:
        interval = None if every_minutes is None else timedelta(minutes=every_minutes)
        super().__init__(train_time_interval=interval, **arguments)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        # A checkpoint is only written if it can be resumed correctly. If a run resumed after the
        # last batch of an epoch, it would skip the validation. The checkpoint at the end of the
        # epoch, which follows soon, has no such problem. While gradients are accumulated, a
        # checkpoint would lack the gradients of the batches so far.
        is_accumulating = (batch_idx + 1) % trainer.accumulate_grad_batches
        if not trainer.is_last_batch and not is_accumulating:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        assert self.dirpath is not None
        folder = Path(self.dirpath)

        def moved(path: str) -> str:
            return str(folder / Path(path).name) if path else path

        names = ("best_model_path", "kth_best_model_path", "last_model_path")
        paths = {name: moved(state_dict[name]) for name in names if name in state_dict}
        best = {moved(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(
            {**state_dict, **paths, "best_k_models": best, "dirpath": self.dirpath}
        )
