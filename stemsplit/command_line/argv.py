"""Hand a prepared command line to Hydra, which reads it from ``sys.argv`` only."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


@contextmanager
def argv(arguments: Sequence[str]) -> Iterator[None]:
    """Replace the arguments of the program inside.

    `hydra.main` has no other way to take them. Lightning's ddp starts its other processes with
    ``sys.argv`` too, so these get the same arguments, and so the same folder.
    """
    before = sys.argv
    sys.argv = [*before[:1], *arguments]
    try:
        yield
    finally:
        sys.argv = before
