"""Lightning's warnings about deliberate settings."""

import os
import warnings
from pathlib import Path

import lightning as L
import pytest

from stemsplit.training.trainer import quieten


def test_training_beside_slurm_does_not_recommend_srun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "srun").touch(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with warnings.catch_warnings(record=True) as shown:
        quieten()
        L.Trainer(accelerator="cpu", devices=1, logger=False)
    assert not [warning for warning in shown if "srun" in str(warning.message)]
