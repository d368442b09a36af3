"""Write checkpoints whole or not at all."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from stemsplit.files import replacing


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary name and renames, so a killed training leaves the last checkpoint."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        with replacing(Path(path)) as partial:
            torch.save(checkpoint, partial)


class RunCheckpoint(ModelCheckpoint):
    """A checkpoint of a run's folder, which may be moved between training and resuming.

    It is written at the end of epochs; given `every_minutes`, in the middle of them.
    (Lightning forgets the best score when the folder's name has changed, and so lets the next
    epoch, however bad, overwrite the best one.)
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
        # After an epoch's last batch Lightning, resumed, would leave out the validation and all
        # that hangs on it; the end of the epoch, just behind, has a checkpoint of its own. And
        # gradients that wait for more batches are in no checkpoint.
        waiting = (batch_idx + 1) % trainer.accumulate_grad_batches
        if not trainer.is_last_batch and not waiting:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        assert self.dirpath is not None
        folder = Path(self.dirpath)

        def here(path: str) -> str:
            return str(folder / Path(path).name) if path else path

        names = ("best_model_path", "kth_best_model_path", "last_model_path")
        moved = {name: here(state_dict[name]) for name in names if name in state_dict}
        best = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(
            {**state_dict, **moved, "best_k_models": best, "dirpath": self.dirpath}
        )
