"""Check that a configuration can train, before any song is decoded.

Without these checks, torch and Lightning fail at the first step, after an epoch, or not at all.
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
from lightning.pytorch.plugins.environments import SLURMEnvironment
from torch.optim.lr_scheduler import ReduceLROnPlateau

from stemsplit.audio.entries import normal
from stemsplit.errors import InputError, settings_at_fault
from stemsplit.models.shapes import Batch, Estimate
from stemsplit.separation.separator import Separator
from stemsplit.training import schedules
from stemsplit.training.losses import Loss
from stemsplit.training.module import SeparationModule

STEPS = 100  # assumed length of the training when the scheduler is tested


def check_parts(module: SeparationModule, trainer: L.Trainer) -> None:
    """Test the mel bands, the optimiser, the scheduler and the loss.

    Raises `InputError` if one of them fails, or if the loss needs a residual and has none.
    """
    check_mel_bands(module.separator)
    with settings_at_fault("optimizer"):
        optimizer = module.optimizer(module.trained())
    check_clipping(optimizer, trainer)
    with settings_at_fault("scheduler"):
        check_scheduler(module.scheduler, optimizer, trainer)
    with settings_at_fault("loss"):
        check_loss(module)
    loss, residual = module.loss, module.separator.residual
    if isinstance(loss, Loss) and loss.mixture_consistent and not loss.residual and residual:
        raise InputError(
            "loss.residual=null: the targets alone do not sum to the mixture, as "
            f"loss.mixture_consistent=true requires; set loss.residual={residual}"
        )


def check_mel_bands(separator: Separator) -> None:
    """Raise `InputError` if a network reads more mel bands than its spectrum has frequencies."""
    front_end = separator.front_end
    bins = front_end.window // 2 + 1
    if front_end.mel_bands > bins and {"mel", "mfcc"} & set(separator.network.views):
        raise InputError(
            f"{front_end.mel_bands} mel bands need more than the {bins} frequency bins of window "
            f"{front_end.window}; choose fewer bands or a longer window"
        )


def check_targets(targets: Sequence[str], **copies: Sequence[str]) -> None:
    """Raise `InputError` if a setting in `copies` differs from ``targets``.

    With such a setting, the estimates would be compared with the references of other stems.
    """
    for setting, names in copies.items():
        if list(map(normal, names)) != list(map(normal, targets)):
            raise InputError(
                f"{setting} {list(names)} must be the same as targets {list(targets)}; set only "
                "targets"
            )


def check_residual(separator: Separator, stems: Sequence[str]) -> None:
    """Raise `InputError` if songs have stems besides the targets, but there is no residual."""
    remaining = [stem for stem in stems if stem not in separator.targets]
    if separator.residual is None and remaining:
        raise InputError(
            f"model.separator.residual=null: the songs also contain {', '.join(remaining)}, which "
            "would be divided among the targets; set model.separator.residual=NAME"
        )


def check_clipping(optimizer: torch.optim.Optimizer, trainer: L.Trainer) -> None:
    """Raise `InputError` if Lightning could not clip the gradients.

    With a gradient scaler, a fused optimiser unscales the gradients itself, after the clipping.
    """
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    if trainer.gradient_clip_val and scaler and optimizer.defaults.get("fused"):
        raise InputError(
            "trainer.precision=16-mixed: the gradients of a fused optimiser cannot be clipped; set "
            "optimizer.fused=false, or trainer.gradient_clip_val=null"
        )


def check_scheduler(scheduler: Any, optimizer: torch.optim.Optimizer, trainer: L.Trainer) -> None:
    """Create the scheduler and step it once.

    The step changes the learning rate of `optimizer`. So call this function with an optimiser that
    is not used for the training.
    """
    if scheduler is None:
        return

    def length(interval: str) -> int:
        schedules.check_end(trainer, interval)
        return STEPS

    instance = schedules.configured(scheduler, optimizer, length)["scheduler"]
    needs_loss = isinstance(instance, ReduceLROnPlateau)
    step = partial(instance.step, 1.0) if needs_loss else instance.step
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*lr_scheduler.step.*before.*optimizer.step.*")
        step()


def check_loss(module: SeparationModule) -> None:
    """Compute the loss of a tone of at least one second, without the network."""
    separator = module.separator
    front_end = separator.front_end
    time = max(front_end.sample_rate, front_end.window)
    tone = torch.linspace(0, 1000, time).sin()
    stems = tone.expand(1, len(separator.targets), separator.channels, time)
    spectra = front_end(stems)
    batch = Batch(stems.sum(dim=1), stems, spectra.sum(dim=1), {}, [(0, 0)], lambda: spectra)
    module.loss(Estimate(lambda: spectra / 2, lambda: stems / 2), batch)


def check_processes(devices: Any) -> None:
    """Raise `InputError` if `devices` is a number greater than the number of CPU cores."""
    cores = os.cpu_count() or 1
    if str(devices).isdecimal() and int(devices) > cores:
        raise InputError(
            f"trainer.devices={devices}: this machine has {cores} CPU cores, and each process "
            f"needs one; choose at most {cores}"
        )


def check_srun(trainer: L.Trainer) -> None:
    """Raise `InputError` if SLURM started fewer or more processes than the trainer uses.

    Without srun, a batch script starts only one process, which would wait for the other processes.
    Additional processes of srun would each train the whole run, in the same folder.
    """
    environment = getattr(trainer.strategy, "cluster_environment", None)
    started = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if isinstance(environment, SLURMEnvironment) and trainer.world_size > started:
        raise InputError(
            f"trainer.devices and trainer.num_nodes: {trainer.world_size} processes must train, "
            f"but {started} was started; write srun before the command in the batch script"
        )
    if started > trainer.world_size:
        nodes = int(os.environ.get("SLURM_STEP_NUM_NODES", "1"))
        raise InputError(
            f"srun started {started} processes, but the trainer uses {trainer.world_size}; set "
            f"trainer=ddp trainer.num_nodes={nodes} trainer.devices={started // nodes}, or train "
            "in one process with srun --ntasks=1 and trainer=default"
        )


def check_callbacks(callbacks: Mapping[str, Any], module: SeparationModule, run: Path) -> None:
    """Check metrics and folders of callbacks.

    Raises `InputError` if a callback monitors an unknown metric, or if a checkpoint is written
    outside the run folder.
    """
    for name, callback in callbacks.items():
        monitor = getattr(callback, "monitor", None)
        if monitor is not None and monitor not in module.logged:
            raise InputError(
                f"callbacks.{name}.monitor={monitor}: unknown metric; choose one of "
                f"{', '.join(module.logged)}"
            )
        folder = getattr(callback, "dirpath", None)
        if isinstance(callback, ModelCheckpoint) and folder and Path(folder) != run.absolute():
            raise InputError(
                f"callbacks.{name}.dirpath={folder}: checkpoints must be in the run folder {run}; "
                "to use another run folder, set hydra.run.dir=FOLDER"
            )
