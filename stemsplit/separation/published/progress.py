"""Show the progress of a download: a bar in a terminal, plain lines elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from stemsplit.terminal.streams import unfailing

PRINTED_SECONDS = 10.0  # interval of the plain lines


@contextmanager
def shown(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Yield a function that shows the progress of one file on stderr.

    Its arguments are the number of bytes received and the total number, None if it is unknown.
    """
    console = Console(file=unfailing(sys.stderr))
    if not console.is_terminal:
        yield Lines(name)
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), DownloadColumn())
    with Progress(*columns, TransferSpeedColumn(), console=console, transient=True) as progress:
        bar = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


class Lines:
    """Print a line on stderr, at most every `PRINTED_SECONDS`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.printed = monotonic()

    def __call__(self, done: int, total: int | None) -> None:
        if monotonic() - self.printed >= PRINTED_SECONDS:
            self.printed = monotonic()
            size = "" if total is None else f" of {decimal(total)}"
            print(f"{self.name}: {decimal(done)}{size}", file=sys.stderr)
