"""Run one job of a sweep in its worker process."""

from collections.abc import Callable
from multiprocessing import current_process
from pathlib import Path

from omegaconf import DictConfig

from stemsplit import processes
from stemsplit.configuration import saved
from stemsplit.errors import InputError
from stemsplit.files import acquire, lock_of
from stemsplit.settings.paths import literal


def run_job(config: DictConfig, train: Callable[[DictConfig], None]) -> None:
    """Train or resume a trial; skip a finished one.

    A job may still run after its sweep was killed, for example on a cluster. If the sweep is then
    started again, the new job of the same trial waits until the old job has ended.
    """
    if (config.trainer.devices, config.trainer.num_nodes) != (1, 1):
        # Each process of ddp would run the command line again, and so start the whole sweep.
        raise InputError(
            "a job of a sweep runs in one process; set trainer.devices=1 trainer.num_nodes=1"
        )
    if current_process().name.startswith("Loky"):  # joblib's worker would outlive a killed sweep
        processes.end_with_parent()
    run = Path(config.run_dir)
    lock = lock_of(run)
    acquire(lock, f"{run}: another process is still training this trial; waiting for it")
    try:
        if (run / "result.json").is_file():
            return
        if (run / "last.ckpt").is_file():
            config.resume = str(run)
            if (weights := saved(run).weights) is not None:  # an absolute path or a model's name
                config.weights = literal(weights)
        train(config)
    finally:
        lock.release()
