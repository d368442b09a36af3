"""Helpers for Lightning's trainer: its signals, its warnings, its processes."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning as L
from lightning.pytorch.utilities import rank_zero_only

from stemsplit.files import default_sigterm


@contextmanager
def lightning_signals() -> Iterator[None]:
    """Let Lightning handle signals inside the block.

    Lightning handles SIGTERM only if the program has no handler for it, so the handler of stemsplit
    is removed inside the block. After Ctrl-C, Lightning exits with code 1; this function raises
    `KeyboardInterrupt` instead.
    """
    with default_sigterm():
        try:
            yield
        except SystemExit as error:
            if isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise


def is_first() -> bool:
    """Whether this is the first process of a distributed run, or the only process."""
    return getattr(rank_zero_only, "rank", 0) == 0 and os.environ.get("NODE_RANK", "0") == "0"


def common_run(run: Path, trainer: L.Trainer) -> Path:
    """Return the run folder of the first process.

    Every node names its run folder after its own clock. If `run`, the folder of this node, is empty
    and is not the folder of the first process, it is removed.
    """
    common = Path(trainer.strategy.broadcast(str(run)))
    if common != run and run.is_dir() and not any(run.iterdir()):
        run.rmdir()
    return common


def was_pruned(trainer: L.Trainer) -> bool:
    """Whether a callback ended the training because a sweep pruned the trial."""
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return any(getattr(callback, "pruned", False) for callback in callbacks)


def quieten() -> None:
    """Silence Lightning's log and its warnings about deliberate settings."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*exists and is not empty.*",
        ".*LeafSpec.*",
        ".*sync_dist=True.*",
        ".*`srun` command is available.*",  # on every machine where SLURM is installed
        ".*callbacks used to create the checkpoint.*",  # a resumed run can turn off callbacks
    ):
        warnings.filterwarnings("ignore", message)
