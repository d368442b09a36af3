"""A training that no longer improves stops, says why once, and is over when it is resumed."""

from pathlib import Path
from typing import Any

import pytest

from stemsplit.training.callbacks.checkpoints import RunCheckpoint
from stemsplit.training.callbacks.early_stopping import RunEarlyStopping
from stemsplit.training.module import SeparationModule

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:.*no `val_dataloader`")


@pytest.mark.parametrize("at_epoch_end", [True, False])
def test_the_reason_is_logged_once(
    at_epoch_end: bool,
    module: SeparationModule,
    songs: Any,
    trainer: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monitor = "train/loss" if at_epoch_end else "validation/loss"

    def train(patience: int, checkpoint: Path | None = None) -> tuple[int, list[str]]:
        """How many epochs were trained in all, and what was logged."""
        caplog.clear()
        stopping = RunEarlyStopping(
            monitor, min_delta=1e9, patience=patience, check_on_train_epoch_end=at_epoch_end
        )
        last = RunCheckpoint(dirpath=tmp_path, filename="last", enable_version_counter=False)
        fit = trainer(stopping, last, max_epochs=9, enable_checkpointing=True)
        data = songs(2)
        if not at_epoch_end:
            data.val_dataloader = data.train_dataloader
        fit.fit(module, data, ckpt_path=checkpoint, weights_only=True)
        name = RunEarlyStopping.__module__
        return fit.current_epoch, [r.getMessage() for r in caplog.records if r.name == name]

    epochs, [line] = train(patience=2)
    assert line.startswith(f"epoch {epochs - 1}: Monitored metric {monitor} did not improve")
    assert train(2, tmp_path / "last.ckpt") == (epochs, [])
    more, [_] = train(3, tmp_path / "last.ckpt")
    assert more > epochs
