"""Limit the number of loader processes by the free shared memory (often 64 MB in a container)."""

import math
import shutil
import sys
from pathlib import Path

from rich.filesize import decimal

SHARED_MEMORY = Path("/dev/shm")  # torch passes batches between processes here on Linux
READ_AHEAD = 2  # batches per worker: torch's default prefetch_factor
LOADERS = 2  # the loaders of training and validation exist at the same time


def workers_that_fit(workers: int, batch_bytes: int, processes: int, batches: str) -> int:
    """Reduce the number of loader processes until their batches fit into shared memory.

    `workers` is the wanted number of loader processes for each of `processes` training processes,
    and `batch_bytes` is the size of a batch. If the number is reduced, a message is printed, in
    which `batches` names the batches ("training" or "validation"). With 0 loader processes, the
    training process reads the same batches itself, more slowly.
    """
    if not workers or not SHARED_MEMORY.is_dir():
        return workers
    free = shutil.disk_usage(SHARED_MEMORY).free
    room = free / (LOADERS * processes)
    # The training process holds one more batch, which it is using.
    fitting = min(workers, max(0, math.floor((room / batch_bytes - 1) / READ_AHEAD)))
    if fitting < workers:
        needed = (READ_AHEAD * workers + 1) * batch_bytes * LOADERS * processes
        print(
            f"data.workers: {workers} workers need {decimal(needed)} of shared memory for "
            f"{batches} batches, but {SHARED_MEMORY} has {decimal(free)} free; using {fitting} "
            "workers. In a container, set a larger --shm-size",
            file=sys.stderr,
        )
    return fitting
