"""Fixtures: a separator with a small network, batches for it, and trainers."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from stemsplit.data.datamodule import make_batch
from stemsplit.models.shapes import Batch, Mask, Views
from stemsplit.separation.front_end import FrontEnd
from stemsplit.separation.separator import Separator
from stemsplit.training.losses import magnitude_mse
from stemsplit.training.module import SeparationModule

FREQS = 17
FRONT_END = FrontEnd(sample_rate=8000, window=32, hop=8, mel_bands=4, mel_hertz=4000.0, mfccs=2)


class Chain(nn.Module):
    """Four layers in sequence; `disturb` maps names of layers to functions of their outputs."""

    views = ("magnitude",)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(FREQS, 8)
        self.middle = nn.Sequential(nn.LSTM(8, 8), First(), nn.Linear(8, 8))
        self.last = nn.Linear(8, FREQS)
        self.disturb: dict[str, Callable[[Tensor], Tensor]] = {}

    def forward(self, views: Views) -> Mask:
        frames = views["magnitude"].transpose(2, 3).flatten(0, 1)
        for name in ("first", "middle", "last"):
            frames = getattr(self, name)(frames)
            frames = self.disturb.get(name, nn.Identity())(frames)
        return frames.abs().unflatten(0, (-1, 1, 1)).transpose(3, 4)


class First(nn.Module):
    """Select the first item of a tuple."""

    def forward(self, items: tuple[Tensor, Any]) -> Tensor:
        return items[0]


@pytest.fixture
def module() -> SeparationModule:
    torch.manual_seed(0)
    separator = Separator(
        *(FRONT_END, Chain(), ["vocals"], "rest"),
        channels=1,
        network_description={"class": f"{__name__}.Chain"},
    )
    return SeparationModule(separator, magnitude_mse, partial(torch.optim.SGD, lr=1e-3), None)


class Songs(L.LightningDataModule):
    """A data module with batches of two chunks, each from its own song."""

    def __init__(self, batches: list[Batch]) -> None:
        super().__init__()
        self.batches = batches

    def train_dataloader(self) -> DataLoader[Batch]:
        return DataLoader(self.batches, batch_size=None)  # type: ignore[arg-type]

    def describe(self, keys: list[tuple[int, int]]) -> list[str]:
        return [f"song {position} at {position}.5 s" for _, position in keys]


Spoil = Callable[[int, Tensor], None]


@pytest.fixture
def songs() -> Callable[..., Songs]:
    """Function that makes `count` batches; `spoil(number, stems)` modifies the stems of each."""

    def make_songs(count: int, spoil: Spoil = lambda number, stems: None) -> Songs:
        batches = []
        for number in range(count):
            generator = torch.Generator().manual_seed(number)
            stems = 0.1 * torch.randn(2, 2, 1, 400, generator=generator)
            spoil(number, stems)
            keys = [(0, 2 * number), (0, 2 * number + 1)]
            batches.append(
                make_batch(FRONT_END, ["magnitude"], stems.sum(dim=1), stems[:, :1], keys)
            )
        return Songs(batches)

    return make_songs


@pytest.fixture
def trainer(tmp_path: Path) -> Callable[..., L.Trainer]:
    """Function that makes a silent trainer on the CPU, by default for one epoch."""

    def make_trainer(*callbacks: L.Callback, **options: Any) -> L.Trainer:
        options = {
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "max_epochs": 1,
        } | options
        return L.Trainer(
            default_root_dir=tmp_path,
            accelerator="cpu",
            enable_model_summary=False,
            callbacks=list(callbacks),
            **options,
        )

    return make_trainer
