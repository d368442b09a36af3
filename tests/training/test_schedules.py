"""Schedulers step at the right time, also with accumulated batches and after resuming."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch.optim import lr_scheduler

from stemsplit.errors import InputError
from stemsplit.training.callbacks.checkpoints import RunCheckpoint
from stemsplit.training.module import SeparationModule

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:.*no `val_dataloader`")

ONE_CYCLE = partial(lr_scheduler.OneCycleLR, max_lr=0.01)
CYCLIC = partial(lr_scheduler.CyclicLR, base_lr=0.001, max_lr=0.01, step_size_up=2)
STEPWISE = partial(lr_scheduler.StepLR, step_size=1, gamma=0.5)


class Rates(L.Callback):
    """Records the learning rate of every optimiser step."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])


def expected(scheduler: Callable[..., Any], steps: int) -> list[float]:
    """The learning rates of a plain loop that steps the scheduler after each optimiser step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    instance, rates = scheduler(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        instance.step()
    return rates


@pytest.fixture
def rates_of(module: SeparationModule, songs: Any, trainer: Any) -> Callable[..., list[float]]:
    """Function that trains with 5 batches per epoch, and returns the learning rates."""

    def train(scheduler: Any, ckpt_path: Path | None = None, **options: Any) -> list[float]:
        module.scheduler = scheduler
        rates = Rates()
        options = {"max_epochs": 2} | options
        checkpoints = options.pop("checkpoints", [])
        trainer(rates, *checkpoints, **options).fit(module, songs(5), ckpt_path=ckpt_path)
        return rates.rates

    return train


@pytest.mark.parametrize(
    ("scheduler", "reference"),
    [
        (ONE_CYCLE, partial(ONE_CYCLE, total_steps=10)),
        (CYCLIC, CYCLIC),
        (partial(STEPWISE, interval="step"), STEPWISE),
    ],
)
def test_step_schedulers_step_after_every_optimiser_step(
    scheduler: Any, reference: Any, rates_of: Any
) -> None:
    assert rates_of(scheduler) == pytest.approx(expected(reference, 10))


def test_epoch_schedulers_step_after_every_epoch(rates_of: Any) -> None:
    assert rates_of(STEPWISE) == pytest.approx([1e-3] * 5 + [5e-4] * 5)


@pytest.mark.filterwarnings("ignore:.*Are you sure you didn't mean")
def test_one_cycle_can_step_by_epochs(rates_of: Any) -> None:
    rates = rates_of(partial(ONE_CYCLE, interval="epoch"), max_epochs=3)
    by_epoch = expected(partial(ONE_CYCLE, total_steps=3), 3)
    assert rates == pytest.approx([rate for rate in by_epoch for _ in range(5)])


def test_scheduler_counts_accumulated_batches_as_one_step(rates_of: Any) -> None:
    rates = rates_of(ONE_CYCLE, accumulate_grad_batches=2)  # an epoch is 2 + 2 + 1 batches
    assert rates == pytest.approx(expected(partial(ONE_CYCLE, total_steps=6), 6))


def test_cycle_ends_at_max_steps(rates_of: Any) -> None:
    rates = rates_of(ONE_CYCLE, max_epochs=-1, max_steps=7)
    assert rates == pytest.approx(expected(partial(ONE_CYCLE, total_steps=7), 7))


class Stop(L.Callback):
    """Aborts the training in the middle of an epoch."""

    # At the start of the next batch, because checkpoints are written after all other callbacks.
    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == 7:
            raise KeyError("killed")


@pytest.fixture
def stopped(rates_of: Any, tmp_path: Path) -> Path:
    """The checkpoint of a training that was aborted after step 7 of 10."""
    keeper = RunCheckpoint(dirpath=str(tmp_path), filename="last", every_n_train_steps=7)
    with pytest.raises(KeyError, match="killed"):
        rates_of(ONE_CYCLE, checkpoints=[keeper, Stop()], enable_checkpointing=True)
    return tmp_path / "last.ckpt"


def test_resumed_cycle_continues(rates_of: Any, stopped: Path) -> None:
    rates = rates_of(ONE_CYCLE, ckpt_path=stopped)
    assert rates == pytest.approx(expected(partial(ONE_CYCLE, total_steps=10), 10)[7:])


def test_resumed_training_longer_than_cycle_is_rejected(rates_of: Any, stopped: Path) -> None:
    with pytest.raises(InputError, match=r"ends after 10 optimiser steps.*epochs=3.*15"):
        rates_of(ONE_CYCLE, ckpt_path=stopped, max_epochs=3)


@pytest.mark.parametrize(
    ("scheduler", "line"),
    [
        (partial(STEPWISE, interval="batch"), "scheduler.interval=batch: choose step or epoch"),
        (partial(lr_scheduler.ReduceLROnPlateau, interval="step"), "once an epoch; choose epoch"),
        (partial(lr_scheduler.OneCycleLR), "scheduler: .*max_lr"),
        (partial(ONE_CYCLE, total_steps=-1), "scheduler: .*total_steps"),
        (partial(ONE_CYCLE, total_steps=3), "ends after 3 optimiser steps.*for 10"),
    ],
)
def test_invalid_schedulers_are_rejected(scheduler: Any, line: str, rates_of: Any) -> None:
    with pytest.raises(InputError, match=line):
        rates_of(scheduler)


def test_one_cycle_without_end_of_training_is_rejected(rates_of: Any) -> None:
    with pytest.raises(InputError, match="set epochs="):
        rates_of(ONE_CYCLE, max_epochs=-1)
