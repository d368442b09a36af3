"""Schedulers step when they are meant to, also after accumulated batches and a resume."""

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
    """The learning rate of every optimiser step."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        self.rates.append(optimizer.param_groups[0]["lr"])


def expected(scheduler: Callable[..., Any], steps: int) -> list[float]:
    """What torch's own loop has: a step of the scheduler after each of the optimiser."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    stepped, rates = scheduler(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        stepped.step()
    return rates


@pytest.fixture
def rates_of(module: SeparationModule, songs: Any, trainer: Any) -> Callable[..., list[float]]:
    """The rates of a training of 5 batches an epoch."""

    def trained(scheduler: Any, ckpt_path: Path | None = None, **how: Any) -> list[float]:
        module.scheduler = scheduler
        rates = Rates()
        how = {"max_epochs": 2} | how
        checkpoints = how.pop("checkpoints", [])
        trainer(rates, *checkpoints, **how).fit(module, songs(5), ckpt_path=ckpt_path)
        return rates.rates

    return trained


@pytest.mark.parametrize(
    ("scheduler", "reference"),
    [
        (ONE_CYCLE, partial(ONE_CYCLE, total_steps=10)),
        (CYCLIC, CYCLIC),
        (partial(STEPWISE, interval="step"), STEPWISE),
    ],
)
def test_schedulers_of_steps_step_after_every_optimiser_step(
    scheduler: Any, reference: Any, rates_of: Any
) -> None:
    assert rates_of(scheduler) == pytest.approx(expected(reference, 10))


def test_schedulers_of_epochs_step_after_every_epoch(rates_of: Any) -> None:
    assert rates_of(STEPWISE) == pytest.approx([1e-3] * 5 + [5e-4] * 5)


@pytest.mark.filterwarnings("ignore:.*Are you sure you didn't mean")
def test_one_cycle_by_epochs_lasts_for_all_epochs(rates_of: Any) -> None:
    rates = rates_of(partial(ONE_CYCLE, interval="epoch"), max_epochs=3)
    by_epoch = expected(partial(ONE_CYCLE, total_steps=3), 3)
    assert rates == pytest.approx([rate for rate in by_epoch for _ in range(5)])


def test_accumulated_batches_are_one_step(rates_of: Any) -> None:
    rates = rates_of(ONE_CYCLE, accumulate_grad_batches=2)  # 2 + 2 + 1 batches an epoch
    assert rates == pytest.approx(expected(partial(ONE_CYCLE, total_steps=6), 6))


def test_max_steps_ends_the_cycle(rates_of: Any) -> None:
    rates = rates_of(ONE_CYCLE, max_epochs=-1, max_steps=7)
    assert rates == pytest.approx(expected(partial(ONE_CYCLE, total_steps=7), 7))


class Stop(L.Callback):
    """Ends the training as a kill would, in the middle of an epoch."""

    # (Checkpoints of a step are written after all other callbacks of that step.)
    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == 7:
            raise KeyError("killed")


@pytest.fixture
def stopped(rates_of: Any, tmp_path: Path) -> Path:
    """The checkpoint of a training that was killed after step 7 of 10."""
    keeper = RunCheckpoint(dirpath=str(tmp_path), filename="last", every_n_train_steps=7)
    with pytest.raises(KeyError, match="killed"):
        rates_of(ONE_CYCLE, checkpoints=[keeper, Stop()], enable_checkpointing=True)
    return tmp_path / "last.ckpt"


def test_a_resumed_cycle_goes_on_where_it_was(rates_of: Any, stopped: Path) -> None:
    rates = rates_of(ONE_CYCLE, ckpt_path=stopped)
    assert rates == pytest.approx(expected(partial(ONE_CYCLE, total_steps=10), 10)[7:])


def test_a_resumed_training_longer_than_its_cycle_is_refused(rates_of: Any, stopped: Path) -> None:
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
def test_schedulers_that_cannot_be_used_are_refused(
    scheduler: Any, line: str, rates_of: Any
) -> None:
    with pytest.raises(InputError, match=line):
        rates_of(scheduler)


def test_a_cycle_of_a_training_without_an_end_is_refused(rates_of: Any) -> None:
    with pytest.raises(InputError, match="set epochs="):
        rates_of(ONE_CYCLE, max_epochs=-1)
