"""Averaged weights are validated, saved, and loaded by `load`."""

from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

import stemsplit
from stemsplit.data.datamodule import make_batch
from stemsplit.models.shapes import Batch
from stemsplit.separation.checkpoint import build
from stemsplit.training.callbacks.averaging import MovingAverage
from stemsplit.training.callbacks.checkpoints import RunCheckpoint
from stemsplit.training.losses import magnitude_mse
from stemsplit.training.module import SeparationModule

STEPS = 20
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:.*exists and is not empty")


@pytest.fixture
def module() -> SeparationModule:
    torch.manual_seed(0)
    separator = build(
        {"sample_rate": 8000, "window": 256, "hop": 64, "mel_bands": 16, "mfccs": 4},
        {"class": "stemsplit.models.blstm.Blstm", "hidden": 16, "layers": 1},
        ["vocals"],
        "rest",
        channels=1,
    )
    return SeparationModule(separator, magnitude_mse, partial(torch.optim.Adam, lr=0.01), None)


def batches(module: SeparationModule, count: int) -> DataLoader[Batch]:
    generator = torch.Generator().manual_seed(0)
    made = []
    for number in range(count):
        stems = 0.1 * torch.randn(2, 2, 1, 2000, generator=generator)
        mixture = stems.sum(dim=1)
        keys = [(0, number)]
        made.append(
            make_batch(module.separator.front_end, ["magnitude"], mixture, stems[:, :1], keys)
        )
    return DataLoader(made, batch_size=None)  # type: ignore[arg-type]


class RawWeights(L.Callback):
    """Records the weights of the optimiser, before they are replaced by the average."""

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.weights = [weight.detach().clone() for weight in module.parameters()]


def test_averaged_weights_are_validated_saved_and_loaded(
    module: SeparationModule, tmp_path: Path
) -> None:
    before = [weight.detach().clone() for weight in module.parameters()]
    validation = batches(module, 1)
    raw = RawWeights()
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_epochs=1,
        callbacks=[
            MovingAverage(),
            raw,
            RunCheckpoint(dirpath=tmp_path, filename="best", monitor="validation/loss"),
        ],
    )
    trainer.fit(module, batches(module, STEPS), validation)
    assert trainer.global_step == STEPS
    validated = trainer.callback_metrics["validation/loss"]

    saved = stemsplit.load(tmp_path / "best.ckpt")
    for batch in validation:
        again = magnitude_mse(saved.estimate(batch), batch)
    torch.testing.assert_close(again, validated, rtol=1e-5, atol=0)
    # After the training, the module has the averaged weights.
    for expected, weight in zip(saved.parameters(), module.parameters(), strict=True):
        assert torch.equal(expected, weight)

    # The average is close to the final weights, but not equal, and far from the initial weights.
    def distance(first: list[torch.Tensor], second: list[torch.Tensor]) -> float:
        pairs = zip(first, second, strict=True)
        return sum((a - b).square().sum().item() for a, b in pairs) ** 0.5

    averaged = [weight.detach() for weight in saved.parameters()]
    assert 0 < distance(averaged, raw.weights) < 0.5 * distance(before, raw.weights)


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_decay_warms_up(module: SeparationModule, decay: float, tmp_path: Path) -> None:
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_epochs=1,
    )
    history: list[torch.Tensor] = []

    class Remember(L.Callback):
        def on_train_batch_end(self, *arguments: object) -> None:
            history.append(module.separator.network.output_mean.detach().clone())

    trainer.callbacks += [MovingAverage(decay=decay), Remember()]
    trainer.fit(module, batches(module, 12))
    expected = history[0]
    for number, weight in enumerate(history[1:], start=1):
        current_decay = min(decay, (1 + number) / (10 + number))
        expected = current_decay * expected + (1 - current_decay) * weight
    torch.testing.assert_close(module.separator.network.output_mean.detach(), expected)
