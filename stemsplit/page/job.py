"""A song on the server of the page: its state and its files."""

import secrets
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from stemsplit.errors import Cancelled


class State(StrEnum):
    WAITING = "waiting"
    LOADING = "loading"  # the model is loaded
    SEPARATING = "separating"
    DRAWING = "drawing"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in (State.DONE, State.FAILED, State.CANCELLED)


@dataclass(eq=False)
class Job:
    """A song to separate. `folder` holds its files; their paths do not contain the title."""

    folder: Path
    title: str
    model: str
    id: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    state: State = State.WAITING
    fraction: float = 0.0  # share of the separation that is done, from 0 to 1
    message: str = ""  # an error if the job failed, otherwise notes about the song
    stems: Mapping[str, Path] = field(default_factory=dict)
    # Clock times, in seconds: `used` is the last use of the song, `seen` the last time at which its
    # page was known to be open. A page that only reports that it is open does not use the song.
    used: float = 0.0
    seen: float = 0.0
    readers: int = 0  # requests that read the files
    removed: bool = False  # the files are removed as soon as nothing reads them
    lock: threading.Lock = field(default_factory=threading.Lock)  # for state, readers and removed

    @property
    def song(self) -> Path:
        """The uploaded file."""
        return self.folder / "song"

    def progress(self, fraction: float) -> bool:
        """Set the fraction done; return False if the separation should stop."""
        self.fraction = fraction
        return self.state is not State.CANCELLED

    def enter(self, state: State) -> None:
        """Set the state; raise `Cancelled` if the job is cancelled."""
        with self.lock:
            if self.state is State.CANCELLED:
                raise Cancelled
            self.state = state

    def cancel(self) -> None:
        with self.lock:
            self.state = State.CANCELLED

    @contextmanager
    def reading(self) -> Iterator[State]:
        """Keep the files until the block ends; yield the state of the job.

        If the state is DONE, all files exist during the block.
        """
        with self.lock:
            state = self.state
            self.readers += 1
        try:
            yield state
        finally:
            with self.lock:
                self.readers -= 1
            if self.removed:
                self.remove_files()

    def remove_files(self) -> None:
        """Remove the files. If requests are reading them, the last request removes them."""
        with self.lock:
            self.removed = True
            if self.readers:
                return
        shutil.rmtree(self.folder, ignore_errors=True)
