"""Share the threads of torch among Python threads."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def shared_cores(jobs: int) -> Iterator[None]:
    """Let Python threads that start inside the ``with`` statement share torch's threads equally.

    `jobs` is the number of Python threads. Each of them uses at least one thread of torch.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // jobs))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
