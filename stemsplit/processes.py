"""Share work between the processes of a distributed training or of torchrun."""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import TypeVar

import torch
from torch import distributed

from stemsplit.errors import InputError

Item = TypeVar("Item")


@contextmanager
def joined() -> Iterator[None]:
    """Inside, the processes that torchrun started know each other; alone, nothing happens."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or together():
        yield
        return
    # A process that has done its share may wait for the others for hours; where one of them has
    # ended, torchrun ends all.
    distributed.init_process_group("gloo", timeout=timedelta(days=7))
    try:
        yield
    finally:
        # Left to the interpreter's end, its threads abort the process now and then.
        distributed.destroy_process_group()


def together() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """The number of this process, from 0."""
    return distributed.get_rank() if together() else 0


def count() -> int:
    return distributed.get_world_size() if together() else 1


def share(items: Sequence[Item]) -> list[Item]:
    """What of the items falls to this process."""
    return list(items[rank() :: count()])


def gather(items: Sequence[Item]) -> list[Item]:
    """The items of all processes, in the order that they had before `share`."""
    if not together():
        return list(items)
    shares: list[list[Item]] = [[] for _ in range(count())]
    distributed.all_gather_object(shares, list(items))
    length = max(len(part) for part in shares)
    return [part[place] for place in range(length) for part in shares if place < len(part)]


def device(name: str) -> str:
    """``auto``: the accelerator of this process where there is one, else the CPU."""
    if name != "auto":
        try:
            torch.empty(0, device=name)
        except (RuntimeError, AssertionError) as error:  # as the missing build or driver has it
            raise InputError(f"device={name}: {str(error).splitlines()[0]}") from None
        return name
    if torch.cuda.is_available():
        return f"cuda:{rank() % torch.cuda.device_count()}"
    return "cpu"


@cache
def end_with_parent() -> None:
    """From now on, this process ends soon after its parent does."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
