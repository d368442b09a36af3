"""Silent batches are reported once and counted in every epoch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stemsplit.training.callbacks.checkpoints import RunCheckpoint
from stemsplit.training.callbacks.silence import ReportSilence
from stemsplit.training.loggers.metrics_csv import MetricsCsv
from stemsplit.training.module import SeparationModule

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:.*no `val_dataloader`")


def silent(*numbers: int) -> Callable[[int, Tensor], None]:
    def spoil(number: int, stems: Tensor) -> None:
        if number in numbers:
            stems.zero_()
        stems[0].zero_()  # a single silent chunk in a batch is not reported

    return spoil


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("stemsplit")]


def test_silent_batches_are_reported_once_and_counted(
    module: SeparationModule, songs: Any, trainer: Any, tmp_path: Path, caplog: Any
) -> None:
    logger = MetricsCsv(str(tmp_path))
    trainer(ReportSilence(), logger=[logger], max_epochs=2).fit(module, songs(4, silent(1, 3)))
    assert [row["train/silent_batches"] for row in logger.rows] == ["2.0", "2.0"]
    (line,) = warnings_of(caplog)
    assert line.startswith("epoch 0, batch 1: the mixture is silent in song 2 at 2.5 s | song")


def test_zero_loss_is_reported(
    module: SeparationModule, songs: Any, trainer: Any, tmp_path: Path, caplog: Any
) -> None:
    module.loss = lambda estimate, batch: 0 * estimate.magnitudes.sum()
    logger = MetricsCsv(str(tmp_path))
    trainer(ReportSilence(), logger=[logger]).fit(module, songs(3))
    assert logger.rows[-1]["train/silent_batches"] == "3.0"
    (line,) = warnings_of(caplog)
    assert line.startswith("epoch 0, batch 0: the loss is exactly zero in song 0 at 0.5 s | song 1")


def test_audible_batches_are_not_reported(
    module: SeparationModule, songs: Any, trainer: Any, tmp_path: Path, caplog: Any
) -> None:
    logger = MetricsCsv(str(tmp_path))
    trainer(ReportSilence(), logger=[logger]).fit(module, songs(2, silent()))
    assert logger.rows[-1]["train/silent_batches"] == "0.0"
    assert not warnings_of(caplog)


def test_resumed_epoch_keeps_its_count(
    module: SeparationModule, songs: Any, trainer: Any, tmp_path: Path, caplog: Any
) -> None:
    last = RunCheckpoint(dirpath=tmp_path, filename="last", every_n_train_steps=2)
    fit = trainer(ReportSilence(), last, max_steps=2, max_epochs=-1, enable_checkpointing=True)
    fit.fit(module, songs(4, silent(1, 3)))
    callback = ReportSilence()
    callback.load_state_dict(
        torch.load(tmp_path / "last.ckpt", weights_only=True)["callbacks"]["ReportSilence"]
    )
    logger = MetricsCsv(str(tmp_path))
    trainer(callback, logger=[logger]).fit(module, songs(4, silent(1, 3)))
    assert logger.rows[-1]["train/silent_batches"] == "3.0"
    assert len(warnings_of(caplog)) == 1
