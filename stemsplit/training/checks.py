"""Find the settings that cannot train before any song is decoded.

torch and Lightning refuse such settings at the first step, after an epoch or never.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.optim.lr_scheduler import ReduceLROnPlateau

from stemsplit.errors import InputError, settings_at_fault
from stemsplit.models.shapes import Batch, Estimate
from stemsplit.separation.separator import Separator
from stemsplit.training import schedules
from stemsplit.training.losses import Loss
from stemsplit.training.module import SeparationModule

STEPS = 100  # of the training that the scheduler is tried for


def check_parts(module: SeparationModule, trainer: L.Trainer) -> None:
    """Try the optimiser, the scheduler and the loss; raise `InputError` where one fails."""
    check_mel_bands(module.separator)
    with settings_at_fault("optimizer"):
        optimizer = module.optimizer(module.parameters())
    with settings_at_fault("scheduler"):
        check_scheduler(module.scheduler, optimizer, trainer)
    with settings_at_fault("loss"):
        check_loss(module)
    loss, residual = module.loss, module.separator.residual
    if isinstance(loss, Loss) and loss.mixture_consistent and not loss.residual and residual:
        raise InputError(
            "loss.residual=null: the targets alone do not sum to the mixture, as "
            f"loss.mixture_consistent=true requires; say loss.residual={residual}"
        )


def check_mel_bands(separator: Separator) -> None:
    """Raise `InputError` if a network reads more mel bands than its spectrum has frequencies."""
    front_end = separator.front_end
    freqs = front_end.window // 2 + 1
    if front_end.mel_bands > freqs and {"mel", "mfcc"} & set(separator.network.views):
        raise InputError(
            f"{front_end.mel_bands} mel bands cannot be made of the {freqs} frequencies of a "
            f"window of {front_end.window}: choose fewer bands or a longer window"
        )


def check_residual(separator: Separator, stems: Sequence[str]) -> None:
    """Raise `InputError` if songs hold more than the targets, and that has no name."""
    others = [stem for stem in stems if stem not in separator.targets]
    if separator.residual is None and others:
        raise InputError(
            f"model.separator.residual=null: the songs hold {', '.join(others)} besides the "
            "targets; without a residual the targets would get all of it"
        )


def check_scheduler(scheduler: Any, optimizer: torch.optim.Optimizer, trainer: L.Trainer) -> None:
    """Make the scheduler and step it. The optimiser is spent then."""
    if scheduler is None:
        return

    def length(interval: str) -> int:
        schedules.check_end(trainer, interval)
        return STEPS

    tried = schedules.configured(scheduler, optimizer, length)["scheduler"]
    step = partial(tried.step, 1.0) if isinstance(tried, ReduceLROnPlateau) else tried.step
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*lr_scheduler.step.*before.*optimizer.step.*")
        step()


def check_loss(module: SeparationModule) -> None:
    """Take the loss of a second of a tone, without the network."""
    separator = module.separator
    front_end = separator.front_end
    time = max(front_end.sample_rate, front_end.window)
    tone = torch.linspace(0, 1000, time).sin()
    stems = tone.expand(1, len(separator.targets), separator.channels, time)
    spectra = front_end(stems)
    batch = Batch(stems.sum(dim=1), stems, spectra.sum(dim=1), {}, [(0, 0)], lambda: spectra)
    module.loss(Estimate(lambda: spectra / 2, lambda: stems / 2), batch)


def check_processes(devices: Any) -> None:
    """Raise `InputError` for more processes than the processor has cores."""
    cores = os.cpu_count() or 1
    if str(devices).isdecimal() and int(devices) > cores:
        raise InputError(
            f"trainer.devices={devices}: this processor has {cores} cores, and each process needs "
            "one; choose no more"
        )


def check_callbacks(callbacks: Mapping[str, Any], module: SeparationModule, run: Path) -> None:
    """Raise `InputError` for a callback that waits for no figure, or keeps its file elsewhere."""
    for name, callback in callbacks.items():
        monitor = getattr(callback, "monitor", None)
        if monitor is not None and monitor not in module.logged:
            raise InputError(
                f"callbacks.{name}.monitor={monitor}: a training has no such figure; choose one of "
                f"{', '.join(module.logged)}"
            )
        folder = getattr(callback, "dirpath", None)
        if isinstance(callback, ModelCheckpoint) and folder and Path(folder) != run.absolute():
            raise InputError(
                f"callbacks.{name}.dirpath={folder}: checkpoints lie in their run's folder, {run}; "
                "choose another run's folder with hydra.run.dir=FOLDER"
            )
