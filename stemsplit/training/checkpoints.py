"""Checkpoints that appear whole or not at all."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from stemsplit.files import replacing


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the checkpoint and renames: a kill leaves the one before."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        with replacing(Path(path)) as partial:
            torch.save(checkpoint, partial)
