"""Learning rate schedulers: when they step, and how often."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import lightning as L
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR, ReduceLROnPlateau

from stemsplit.errors import InputError

PER_STEP = (OneCycleLR, CyclicLR)  # as documented by torch, both step after every batch


def configured(
    scheduler: Any, optimizer: Optimizer, length: Callable[[str], int]
) -> dict[str, Any]:
    """Create a scheduler in the form that Lightning's `configure_optimizers` returns.

    `scheduler` is a class or a ``functools.partial`` of one. Its optional keyword ``interval``
    (``step`` or ``epoch``) chooses whether the scheduler steps after every optimiser step or every
    epoch; the default is ``step`` for the classes in `PER_STEP`, else ``epoch``. If a `OneCycleLR`
    has no length, it gets ``length(interval)``. Raises `InputError` for invalid settings.
    """
    factory, settings = (
        (scheduler.func, dict(scheduler.keywords))
        if isinstance(scheduler, partial)
        else (scheduler, {})
    )
    interval = settings.pop("interval", None) or ("step" if factory in PER_STEP else "epoch")
    if interval not in ("step", "epoch"):
        raise InputError(f"scheduler.interval={interval}: choose step or epoch")
    if interval == "step" and factory is ReduceLROnPlateau:
        raise InputError(
            "scheduler.interval=step: ReduceLROnPlateau needs the validation loss, which is "
            "computed once an epoch; choose epoch"
        )
    if factory is OneCycleLR and not (settings.get("total_steps") or settings.get("epochs")):
        settings["total_steps"] = length(interval)
    try:
        scheduler = factory(optimizer, **settings)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise InputError(f"scheduler: {error}") from error
    return {"scheduler": scheduler, "interval": interval, "monitor": "validation/loss"}


def length(trainer: L.Trainer, interval: str) -> int:
    """The number of times that a scheduler steps during training."""
    check_end(trainer, interval)
    steps = trainer.estimated_stepping_batches if interval == "step" else trainer.max_epochs
    assert steps is not None
    return math.ceil(steps)


def check_end(trainer: L.Trainer, interval: str) -> None:
    """Raise `InputError` if the settings do not limit the number of scheduler steps.

    A maximum of epochs always limits it. A maximum of optimiser steps limits it only for the
    interval ``step``.
    """
    if trainer.max_epochs == -1 and (interval == "epoch" or trainer.max_steps == -1):
        raise InputError("scheduler: OneCycleLR needs the length of the training; set epochs=N")


def check_length(trainer: L.Trainer) -> None:
    """Raise `InputError` if a new or resumed run is longer than its `OneCycleLR` cycle."""
    for config in trainer.lr_scheduler_configs:
        if not isinstance(config.scheduler, OneCycleLR):
            continue
        steps = length(trainer, config.interval)
        if steps > config.scheduler.total_steps:
            unit = "optimiser steps" if config.interval == "step" else "epochs"
            raise InputError(
                f"scheduler: the learning rate cycle ends after {config.scheduler.total_steps} "
                f"{unit}, but epochs={trainer.max_epochs} trains for {steps}; set fewer epochs, "
                "or start a new run"
            )
