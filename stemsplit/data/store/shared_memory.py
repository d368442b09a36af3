"""Limit loader processes to what the shared memory can hold; containers often have 64 MB."""

import math
import shutil
import sys
from pathlib import Path

from stemsplit.data.store.store import size

SHARED_MEMORY = Path("/dev/shm")  # where torch puts what processes hand over, on Linux
READ_AHEAD = 2  # batches of every worker, torch's own choice
LOADERS = 2  # of training and of validation, which are there at the same time


def workers_that_fit(workers: int, batch_bytes: int, processes: int, batches: str) -> int:
    """At most `workers`, as many as can hand over batches of this size without filling the memory.

    `processes` trainings share it. Where the number is reduced, a line says so; with 0 the training
    reads its batches itself, which is slower and gives the same ones.
    """
    if not workers or not SHARED_MEMORY.is_dir():
        return workers
    free = shutil.disk_usage(SHARED_MEMORY).free
    room = free / (LOADERS * processes)
    # One more is in use.
    fitting = min(workers, max(0, math.floor((room / batch_bytes - 1) / READ_AHEAD)))
    if fitting < workers:
        needed = (READ_AHEAD * workers + 1) * batch_bytes * LOADERS * processes
        print(
            f"data.workers: {workers} would need {size(needed)} of shared memory for {batches} "
            f"batches, but {SHARED_MEMORY} has {size(free)} free, so it is {fitting} for these; "
            "a container gets more with --shm-size",
            file=sys.stderr,
        )
    return fitting
