"""Hand a prepared command line to Hydra, which reads it from ``sys.argv`` only."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def argv(arguments: Sequence[str]) -> Iterator[None]:
    """Replace the arguments of the program inside the block.

    `hydra.main` reads arguments only from ``sys.argv``. Lightning's ddp also starts its other
    processes with ``sys.argv``, so all processes use the same run folder.
    """
    before = sys.argv
    sys.argv = [*before[:1], *arguments]
    try:
        yield
    finally:
        sys.argv = before
