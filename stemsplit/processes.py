"""Share work between the processes of a distributed training run, of torchrun or of srun."""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import NamedTuple, TypeVar

import torch
from torch import distributed

from stemsplit.errors import InputError

Item = TypeVar("Item")


class Part(NamedTuple):
    """Every `step`-th item of a list, from the item `start` on."""

    start: int = 0
    step: int = 1

    def of(self, items: Sequence[Item]) -> list[Item]:
        return list(items[self.start :: self.step])


def own_part() -> Part:
    """The part of the work that this process does, in its group or among srun's processes.

    SLURM sets ``SLURM_NTASKS`` also in a batch script, which runs as a single process. So this
    function reads ``SLURM_STEP_NUM_TASKS``, which only srun sets.
    """
    if in_process_group():
        return Part(rank(), count())
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    return Part(int(os.environ["SLURM_PROCID"]), tasks) if tasks > 1 else Part()


@contextmanager
def process_group() -> Iterator[None]:
    """Form a process group of the processes started by torchrun.

    Do nothing in a single process, or if the process already belongs to a group.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or in_process_group():
        yield
        return
    # The timeout is long, because a process that finishes its share early may wait for hours.
    # The timeout need not detect dead processes: if a process dies, torchrun ends the others.
    distributed.init_process_group("gloo", timeout=timedelta(days=7))
    try:
        yield
    finally:
        # Without this, threads of the group sometimes abort the process at interpreter exit.
        distributed.destroy_process_group()


def in_process_group() -> bool:
    """Whether this process belongs to a process group."""
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """The index of this process in its group, from 0."""
    return distributed.get_rank() if in_process_group() else 0


def count() -> int:
    """The number of processes in the group."""
    return distributed.get_world_size() if in_process_group() else 1


def share(items: Sequence[Item]) -> list[Item]:
    """The items that this process works on: every `count()`-th item, from the index `rank()` on.

    Raises `InputError` if srun started several processes, which cannot `gather` their items.
    """
    part = own_part()
    if part.step > count():
        raise InputError(
            f"srun started {part.step} processes of a command that cannot share its work among "
            f"them; start it with srun --ntasks=1, or with torchrun --nproc-per-node={part.step}"
        )
    return part.of(items)


def gather(items: Sequence[Item]) -> list[Item]:
    """Collect the items of all processes, in the order they had before `share`."""
    if not in_process_group():
        return list(items)
    shares: list[list[Item]] = [[] for _ in range(count())]
    distributed.all_gather_object(shares, list(items))
    length = max(len(part) for part in shares)
    return [part[index] for index in range(length) for part in shares if index < len(part)]


def device(name: str) -> str:
    """Check the name of a torch device and return it.

    ``auto`` becomes the GPU of this process, or ``cpu`` if there is no CUDA device. Raises
    `InputError` if the device is missing or unknown.
    """
    if name != "auto":
        try:
            torch.empty(0, device=name)
        except (RuntimeError, AssertionError) as error:  # AssertionError: torch built without CUDA
            reason = str(error).splitlines()[0]
            if reason.startswith("Expected one of"):  # torch lists devices that users do not have
                reason = "unknown; choose cpu, cuda, cuda:1 or mps"
            raise InputError(f"device {name}: {reason}") from None
        return name
    if torch.cuda.is_available():
        return f"cuda:{own_part().start % torch.cuda.device_count()}"
    return "cpu"


@cache
def end_with_parent() -> None:
    """Start a thread that ends this process about a second after its parent process has ended."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
