"""Weights & Biases, the one place that knows it."""

import os
from collections.abc import Sequence

import wandb
from lightning.pytorch.loggers import Logger, WandbLogger


def weights_and_biases(
    folder: str, project: str, name: str, tags: Sequence[str], group: str | None = None
) -> WandbLogger:
    """A run of its own; offline where no key is set, unless ``WANDB_MODE`` says otherwise.

    An offline run is kept in `folder` and can be sent later with ``wandb sync``.
    """
    chosen = os.environ.get("WANDB_MODE") or wandb.login(prompt=False)
    run = wandb.init(
        project=project,
        name=name,
        dir=folder,
        tags=list(tags),
        group=group,
        mode=None if chosen else "offline",
        settings=wandb.Settings(silent=not chosen),
    )
    return WandbLogger(experiment=run)


def finish(loggers: Sequence[Logger], failed: bool) -> None:
    """End the W&B run, so that the next one of this process is not merged into it."""
    if any(isinstance(logger, WandbLogger) for logger in loggers):
        wandb.finish(exit_code=int(failed))
