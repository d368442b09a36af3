"""Show the progress of several songs: bars on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

SECONDS_BETWEEN_LINES = 30.0


class SongProgress:
    """A bar for each song and one for all songs, on stderr.

    If stderr is not a terminal, a line for each song in progress is printed every 30 seconds
    instead.
    """

    def __init__(self, songs: int) -> None:
        self.songs = songs
        console = Console(stderr=True)
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn(
                "{task.description}",
                markup=False,
                table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
            ),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            # rich prints redirected lines on the terminal. If stdout is a file or a pipe, its lines
            # must not be redirected.
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
            transient=True,
        )
        self.all_songs = self.bars.add_task("all songs", total=songs, visible=songs > 1)

    @contextmanager
    def shown(self) -> Iterator[None]:
        with self.bars:
            yield

    @contextmanager
    def song(self, name: str) -> Iterator[Callable[[float], None]]:
        """Yield a function that shows the progress; its argument is the fraction that is done."""
        bar = self.bars.add_task(name, total=1.0)
        printed = time.monotonic()

        def show(fraction: float) -> None:
            nonlocal printed
            self.bars.update(bar, completed=fraction)
            if self.bars.disable and time.monotonic() - printed >= SECONDS_BETWEEN_LINES:
                printed = time.monotonic()
                print(f"{name}: {100 * fraction:.0f} %", file=sys.stderr, flush=True)

        try:
            yield show
        finally:
            self.bars.remove_task(bar)
            self.bars.advance(self.all_songs)
