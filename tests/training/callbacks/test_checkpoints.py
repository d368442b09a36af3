"""Checkpoints are written atomically, and keep the best score of a moved run."""

from pathlib import Path

import pytest
import torch

from stemsplit.training.callbacks.checkpoints import AtomicCheckpointIO, RunCheckpoint


def test_checkpoint_replaces_the_previous_one(tmp_path: Path) -> None:
    path = tmp_path / "run" / "last.ckpt"  # in a folder that does not exist yet
    for step in (1, 2):
        AtomicCheckpointIO().save_checkpoint({"global_step": step}, path)
        assert torch.load(path, weights_only=True) == {"global_step": step}
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize("failure", [OSError("no space left on device"), KeyboardInterrupt()])
def test_failed_save_keeps_the_previous_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"global_step": 1}, path)

    def half_written(checkpoint: object, file: Path) -> None:
        Path(file).write_bytes(b"half")
        raise failure

    monkeypatch.setattr(torch, "save", half_written)
    with pytest.raises(type(failure)):
        AtomicCheckpointIO().save_checkpoint({"global_step": 2}, path)
    assert torch.load(path, weights_only=True) == {"global_step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.ckpt"]


def test_moved_run_keeps_its_best_score(tmp_path: Path) -> None:
    def callback(folder: str) -> RunCheckpoint:
        return RunCheckpoint(dirpath=tmp_path / folder, filename="best", monitor="validation/loss")

    before, after = callback("old"), callback("new")
    best = str(tmp_path / "old" / "best.ckpt")
    before.best_model_path = before.kth_best_model_path = best
    before.best_k_models = {best: torch.tensor(1.5)}
    before.best_model_score = torch.tensor(1.5)
    after.load_state_dict(before.state_dict())
    moved = str(tmp_path / "new" / "best.ckpt")
    assert after.best_model_path == after.kth_best_model_path == moved
    assert after.best_k_models == {moved: torch.tensor(1.5)}
    assert after.best_model_score == 1.5
