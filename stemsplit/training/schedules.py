"""Learning rate schedulers: when they step, and their number of steps."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import lightning as L
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR, ReduceLROnPlateau

from stemsplit.errors import InputError

PER_STEP = (OneCycleLR, CyclicLR)  # torch documents both for a step after every batch


def configured(
    scheduler: Any, optimizer: Optimizer, length: Callable[[str], int]
) -> dict[str, Any]:
    """A scheduler as Lightning's `configure_optimizers` returns it.

    `scheduler` is a class, or a partial of it with settings. The setting ``interval`` is ours:
    ``step`` steps the scheduler after every optimiser step, ``epoch`` after every epoch. Without
    it, `PER_STEP` step after every optimiser step and others after every epoch. `OneCycleLR`
    without a length has that of the training, which `length` gives for an interval.
    """
    made, settings = (
        (scheduler.func, dict(scheduler.keywords))
        if isinstance(scheduler, partial)
        else (scheduler, {})
    )
    interval = settings.pop("interval", None) or ("step" if made in PER_STEP else "epoch")
    if interval not in ("step", "epoch"):
        raise InputError(f"scheduler.interval={interval}: choose step or epoch")
    if interval == "step" and made is ReduceLROnPlateau:
        raise InputError(
            "scheduler.interval=step: ReduceLROnPlateau waits for a validation loss, which comes "
            "once an epoch; choose epoch"
        )
    if made is OneCycleLR and not (settings.get("total_steps") or settings.get("epochs")):
        settings["total_steps"] = length(interval)
    try:
        scheduler = made(optimizer, **settings)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise InputError(f"scheduler: {error}") from error
    return {"scheduler": scheduler, "interval": interval, "monitor": "validation/loss"}


def length(trainer: L.Trainer, interval: str) -> int:
    """How often a scheduler steps until the end of a training."""
    check_end(trainer, interval)
    steps = trainer.estimated_stepping_batches if interval == "step" else trainer.max_epochs
    assert steps is not None
    return math.ceil(steps)


def check_end(trainer: L.Trainer, interval: str) -> None:
    """Raise `InputError` if a training has no end."""
    if trainer.max_epochs == -1 and (interval == "epoch" or trainer.max_steps == -1):
        raise InputError("scheduler: OneCycleLR needs to know the end of the training: say epochs=")


def check_length(trainer: L.Trainer) -> None:
    """Refuse a training that is longer than the cycle of its `OneCycleLR`, a resumed one too."""
    for config in trainer.lr_scheduler_configs:
        if not isinstance(config.scheduler, OneCycleLR):
            continue
        steps = length(trainer, config.interval)
        if steps > config.scheduler.total_steps:
            unit = "optimiser steps" if config.interval == "step" else "epochs"
            raise InputError(
                f"scheduler: the cycle of the learning rate ends after "
                f"{config.scheduler.total_steps} {unit}, and epochs={trainer.max_epochs} trains "
                f"for {steps}; say fewer epochs, or start another run"
            )
