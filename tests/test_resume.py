"""A training resumed from any checkpoint ends exactly like an uninterrupted one."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from stemsplit.data.augment.augment import Augment
from stemsplit.data.corpora.musdb import musdb18hq
from stemsplit.data.corpus import Corpus
from stemsplit.data.datamodule import StemDataModule
from stemsplit.separation.checkpoint import build
from stemsplit.training.callbacks.averaging import MovingAverage
from stemsplit.training.callbacks.checkpoints import AtomicCheckpointIO, RunCheckpoint
from stemsplit.training.callbacks.early_stopping import RunEarlyStopping
from stemsplit.training.losses import magnitude_mse
from stemsplit.training.module import SeparationModule

EPOCHS, STEPS = 3, 4  # STEPS per epoch
NETWORK = {"class": "stemsplit.models.blstm.Blstm", "hidden": 16, "layers": 2, "dropout": 0.4}
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:.*exists and is not empty")


class AfterEveryBatch(RunCheckpoint):
    """Writes a checkpoint after every batch from which a training can be resumed."""

    def on_train_batch_end(self, *arguments: Any) -> None:
        self._last_global_step_saved = -1
        super().on_train_batch_end(*arguments)

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert self.dirpath is not None
        trainer.save_checkpoint(Path(self.dirpath) / f"{trainer.global_step}.ckpt")


@pytest.fixture
def train(wav_corpus: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Function that trains in a folder, new or from a checkpoint; returns the last checkpoint."""

    def run(
        folder: Path,
        start: Path | None = None,
        workers: int = 0,
        averaged: bool = True,
        accumulate: int = 1,
        patience: int = 5,
        least_improvement: float = 0.0,
        max_steps: int = -1,
    ) -> dict[str, Any]:
        L.seed_everything(1, verbose=False)
        separator = build(
            {"sample_rate": 44100, "window": 1024, "hop": 256},
            NETWORK,
            ["vocals"],
            "rest",
            channels=2,
        )
        data = StemDataModule(
            Corpus(
                musdb18hq,
                str(wav_corpus),
                ["drums", "bass", "other", "vocals"],
                44100,
                2,
                str(tmp_path / "cache"),
                ["Pell Orrin - Wire Garden"],
            ),
            targets=["vocals"],
            seed=0,
            chunk_seconds=0.5,
            chunks_per_track=2 * STEPS,
            validation_chunks=2,
            batch_size=4,
            workers=workers,
            augment=Augment(0),
            front_end=separator.front_end,
            views=separator.network.views,
        )
        module = SeparationModule(
            separator,
            magnitude_mse,
            partial(torch.optim.Adam, lr=0.05),
            partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=0, factor=0.5),
        )
        numbered = {"dirpath": folder, "filename": "{step}", "save_top_k": -1}
        numbered |= {"auto_insert_metric_name": False}
        checkpoint = partial(RunCheckpoint, dirpath=folder, enable_version_counter=False)
        trainer = L.Trainer(
            default_root_dir=folder,
            accelerator="cpu",
            max_epochs=EPOCHS,
            max_steps=max_steps,
            gradient_clip_val=5.0,
            accumulate_grad_batches=accumulate,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=1,
            plugins=[AtomicCheckpointIO()],
            callbacks=[
                *([MovingAverage()] if averaged else []),
                checkpoint(filename="best", monitor="validation/loss"),
                checkpoint(filename="last", every_n_epochs=1),
                RunEarlyStopping("validation/loss", least_improvement, patience),
                AfterEveryBatch(every_minutes=0, **numbered),
            ],
        )
        torch.rand(3 * workers)  # resuming must restore the random states of the checkpoint
        trainer.fit(module, data, ckpt_path=start, weights_only=True)
        return torch.load(folder / "last.ckpt", weights_only=True)

    return run


def differences(expected: Any, actual: Any, path: str = "") -> list[str]:
    """Paths at which two checkpoints differ, ignoring their folder and Lightning's own counters.

    Python's random state is ignored too, because the type checks of beartype use it.
    """
    ignored = ("_path", "dirpath", "best_k_models", "/python")
    if path.endswith(ignored) or "scheduler_progress" in path:
        return []
    if isinstance(expected, torch.Tensor):
        same = isinstance(actual, torch.Tensor) and torch.equal(expected, actual)
        return [] if same else [path]
    if isinstance(expected, dict):
        if expected.keys() != actual.keys():
            return [f"{path}: {expected.keys() ^ actual.keys()}"]
        items = [(key, (expected[key], actual[key])) for key in expected]
    elif isinstance(expected, list | tuple):
        if len(expected) != len(actual):
            return [path]
        items = list(enumerate(zip(expected, actual, strict=True)))
    else:
        return [] if expected == actual else [f"{path}: {expected} {actual}"]
    return [line for key, pair in items for line in differences(*pair, f"{path}/{key}")]


@pytest.mark.parametrize(("averaged", "accumulate"), [(True, 1), (False, 2)])
def test_resumed_training_equals_uninterrupted_training(
    train: Callable[..., dict[str, Any]], tmp_path: Path, averaged: bool, accumulate: int
) -> None:
    options = {"averaged": averaged, "accumulate": accumulate}
    uninterrupted = train(tmp_path / "uninterrupted", **options)
    steps = EPOCHS * STEPS // accumulate
    assert uninterrupted["global_step"] == steps
    for step in range(1, steps):
        start = tmp_path / "uninterrupted" / f"{step}.ckpt"
        resumed = train(tmp_path / f"from {step}", start, workers=step % 5 == 0, **options)
        assert not differences(uninterrupted, resumed), step


def test_early_stopped_training_stays_stopped(
    train: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    no_improvement = {"least_improvement": 1e9, "patience": 1}
    stopped = train(tmp_path / "stopped", **no_improvement)
    assert stopped["global_step"] == 2 * STEPS
    last = tmp_path / "stopped" / "last.ckpt"
    assert not differences(stopped, train(tmp_path / "stopped", last, **no_improvement))
    # With more patience, the stopped training continues.
    assert train(tmp_path / "stopped", last)["global_step"] == EPOCHS * STEPS


def test_training_that_ends_within_an_epoch_is_validated_and_resumed(
    train: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    ended = train(tmp_path / "run", max_steps=STEPS + 2)
    assert ended["global_step"] == STEPS + 2
    best = torch.load(tmp_path / "run/best.ckpt", weights_only=True)
    [scored] = [
        state
        for name, state in best["callbacks"].items()
        if "validation/loss" in name and "best_model_score" in state
    ]
    assert scored["best_model_score"] > 0
    resumed = train(tmp_path / "run", tmp_path / "run/last.ckpt")
    assert resumed["global_step"] > STEPS + 2


def test_training_shorter_than_an_epoch_has_a_best_checkpoint(
    train: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    train(tmp_path, max_steps=2)
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["global_step"] == 2
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 2
