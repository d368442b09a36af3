"""The LightningModule trains a separator, logs its SDR, and saves checkpoints for `load`."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

import stemsplit
from stemsplit.data.datamodule import make_batch
from stemsplit.errors import InputError
from stemsplit.models.shapes import Batch
from stemsplit.separation.checkpoint import build
from stemsplit.separation.separator import Separator
from stemsplit.training.callbacks.checkpoints import AtomicCheckpointIO, RunCheckpoint
from stemsplit.training.losses import magnitude_mse
from stemsplit.training.module import SeparationModule, signal_to_distortion

TARGETS = ["vocals", "bass"]
# Warnings of Lightning about its own code, and about intentionally missing validation.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:.*no `val_dataloader`")


@pytest.fixture
def separator() -> Separator:
    torch.manual_seed(0)
    return build(
        {"sample_rate": 8000, "window": 256, "hop": 64, "mel_bands": 16, "mfccs": 4},
        {"class": "stemsplit.models.blstm.Blstm", "hidden": 16, "layers": 1},
        TARGETS,
        "rest",
        channels=2,
    )


@pytest.fixture
def module(separator: Separator) -> SeparationModule:
    optimizer = partial(torch.optim.Adam, lr=0.01)
    scheduler = partial(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=0, threshold=1e9)
    return SeparationModule(separator, magnitude_mse, optimizer, scheduler)


def batches(separator: Separator, *silent: tuple[int, int], count: int = 2) -> list[Batch]:
    """Batches of two excerpts; each pair `(excerpt, stem)` in `silent` is silent in all batches."""
    made = []
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        stems = 0.1 * torch.randn(2, len(TARGETS), 2, 2000, generator=generator)
        for excerpt, stem in silent:
            stems[excerpt, stem] = 0
        mixture = stems.sum(dim=1) + 0.1 * torch.randn(2, 2, 2000, generator=generator)
        keys = [(0, 2 * number), (0, 2 * number + 1)]
        made.append(make_batch(separator.front_end, ["magnitude"], mixture, stems, keys))
    return made


def loader(batches: list[Batch]) -> DataLoader[Batch]:
    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


def trainer(folder: Path, **options: Any) -> L.Trainer:
    return L.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **({"enable_checkpointing": False} | options),
    )


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_training_updates_weights_and_logs_metrics(
    module: SeparationModule, tmp_path: Path, precision: str
) -> None:
    data = loader(batches(module.separator))
    before = [parameter.detach().clone() for parameter in module.parameters()]
    fit = trainer(tmp_path, max_epochs=2, precision=precision, num_sanity_val_steps=1)
    fit.fit(module, data, data)
    metrics = fit.callback_metrics
    for name in ["train/loss", "validation/loss", "lr", *(f"validation/sdr/{t}" for t in TARGETS)]:
        assert metrics[name].isfinite(), name
    assert not any(map(torch.equal, before, module.parameters()))
    # No loss improves by the large threshold, so the scheduler lowers the learning rate.
    assert fit.optimizers[0].param_groups[0]["lr"] < 0.01


def test_resumed_scheduler_continues(module: SeparationModule, tmp_path: Path) -> None:
    data = loader(batches(module.separator))

    def train(epochs: int, checkpoint: Path | None = None) -> float:
        last = RunCheckpoint(dirpath=tmp_path, filename="last", enable_version_counter=False)
        fit = L.Trainer(
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            max_epochs=epochs,
            callbacks=[last],
        )
        fit.fit(module, data, data, ckpt_path=checkpoint, weights_only=True)
        return float(fit.optimizers[0].param_groups[0]["lr"])

    uninterrupted = train(4)
    train(2)
    assert train(4, tmp_path / "last.ckpt") == pytest.approx(uninterrupted)
    assert uninterrupted < 0.01 * 0.1**2  # every epoch after the first lowers it


def test_optimiser_steps_decrease_the_loss(module: SeparationModule, tmp_path: Path) -> None:
    module.scheduler = None
    data = loader(batches(module.separator, count=1))
    losses = []
    for steps in (1, 20):
        fit = trainer(tmp_path, max_steps=steps, max_epochs=-1)
        fit.fit(module, data)
        losses.append(float(fit.callback_metrics["train/loss"]))
    assert losses[1] < losses[0]


def decibels(reference: Tensor, estimate: Tensor) -> float:
    signal, error = reference.double().numpy(), (reference - estimate).double().numpy()
    return 10 * np.log10(np.sum(signal**2) / np.sum(error**2))


def test_signal_to_distortion_equals_formula() -> None:
    torch.manual_seed(0)
    references, estimates = torch.randn(2, 3, 4, 2, 500)
    expected = [
        [decibels(r, e) for r, e in zip(*pair, strict=True)]
        for pair in zip(references, estimates, strict=True)
    ]
    ratios = signal_to_distortion(references, estimates)
    np.testing.assert_allclose(ratios.numpy(), expected, rtol=1e-4, atol=1e-4)


def test_signal_to_distortion_is_finite() -> None:
    stems = torch.randn(1, 1, 2, 500)
    for references, estimates in [(stems, stems), (0 * stems, stems), (0 * stems, 0 * stems)]:
        assert signal_to_distortion(references, estimates).isfinite().all()


@pytest.mark.parametrize("silent", [[], [(0, 0)], [(0, 0), (1, 0)]])
def test_validation_sdr_is_median_over_audible_excerpts(
    module: SeparationModule, tmp_path: Path, silent: list[tuple[int, int]]
) -> None:
    data = batches(module.separator, *silent)
    (metrics,) = trainer(tmp_path).validate(module, loader(data), verbose=False)
    assert np.isfinite(metrics["validation/loss"])
    module.eval()
    for stem, target in enumerate(TARGETS):
        ratios = [
            decibels(batch.stems[excerpt, stem], estimate.detach()[excerpt, stem])
            for batch in data
            for estimate in [module.separator.estimate(batch).waveforms]
            for excerpt in range(2)
            if (excerpt, stem) not in silent
        ]
        if not ratios:
            assert f"validation/sdr/{target}" not in metrics
            continue
        # The median of an even number of values is between the two middle ones.
        middle = sorted(ratios)[(len(ratios) - 1) // 2 : len(ratios) // 2 + 1]
        median = metrics[f"validation/sdr/{target}"]
        assert middle[0] - 1e-3 <= median <= middle[-1] + 1e-3


def test_validations_are_independent(module: SeparationModule, tmp_path: Path) -> None:
    data = batches(module.separator)
    alone = trainer(tmp_path).validate(module, loader(data[:1]), verbose=False)
    trainer(tmp_path).validate(module, loader(data[1:]), verbose=False)
    assert trainer(tmp_path).validate(module, loader(data[:1]), verbose=False) == alone


def test_checkpoint_is_plain_data_and_loads(module: SeparationModule, tmp_path: Path) -> None:
    data = loader(batches(module.separator))
    fit = trainer(tmp_path, max_epochs=1, plugins=[AtomicCheckpointIO()])
    fit.fit(module, data, data)
    path = tmp_path / "best.ckpt"
    fit.save_checkpoint(path)
    content = torch.load(path, weights_only=True)
    assert content["separator"] == module.separator.description
    assert not content.get("hyper_parameters")

    mixture = 0.1 * torch.randn(2, 3000)
    expected = module.separator.separate(mixture, 8000)
    torch.testing.assert_close(stemsplit.load(path).separate(mixture, 8000), expected)

    resumed = trainer(tmp_path, max_epochs=2)
    resumed.fit(module, data, data, ckpt_path=path, weights_only=True)
    assert resumed.current_epoch == 2
    assert resumed.global_step == 4


def test_separator_without_description_is_rejected_before_training(
    module: SeparationModule, tmp_path: Path
) -> None:
    module.separator.network_description = None
    data = loader(batches(module.separator))
    with pytest.raises(InputError, match=r"checkpoint\.build"):
        trainer(tmp_path, max_epochs=1, enable_checkpointing=True).fit(module, data, data)
    trainer(tmp_path, max_epochs=1, enable_checkpointing=False).fit(module, data, data)
