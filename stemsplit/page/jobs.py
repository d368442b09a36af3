"""The queue of the page: songs wait here until one thread separates them in turn."""

import secrets
import shutil
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from stemsplit.errors import Cancelled, one_line

ABSENT_SECONDS = 30.0  # a song is cancelled when its page has been closed for this long
MOST_KEPT = 16  # separated songs


class State(StrEnum):
    WAITING = "waiting"
    LOADING = "loading"  # the model
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
    """A song to separate. `folder` holds all its files, under names that do not depend on it."""

    folder: Path
    title: str
    model: str
    id: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    state: State = State.WAITING
    fraction: float = 0.0  # of the separation
    message: str = ""  # an error if the job failed, otherwise remarks on the song
    stems: Mapping[str, Path] = field(default_factory=dict)
    used: float = 0.0  # clock time of the last request of the job's page
    lock: threading.Lock = field(default_factory=threading.Lock)  # of `state`

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


class QueueFullError(Exception):
    """No place is free in the queue."""


class JobQueue:
    """Jobs of all visitors. `run` works on them in order; all other methods are thread-safe.

    `work` separates one job and sets its states. At most `places` songs wait or are uploaded at the
    same time. Files of a job are removed when it fails or is cancelled, `keep_seconds` after its
    last use, or when `MOST_KEPT` songs have been used later.
    """

    def __init__(
        self,
        work: Callable[[Job], None],
        places: int,
        keep_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.work = work
        self.places = places
        self.keep_seconds = keep_seconds
        self.clock = clock
        self.jobs: dict[str, Job] = {}
        self.waiting: list[Job] = []
        self.running: Job | None = None
        self.uploads = 0
        self.closed = False
        self.changed = threading.Condition()

    @contextmanager
    def reserve_place(self) -> Iterator[None]:
        """Reserve a place during an upload; raise `QueueFullError` if none is free."""
        with self.changed:
            if len(self.waiting) + self.uploads >= self.places:
                raise QueueFullError
            self.uploads += 1
        try:
            yield
        finally:
            with self.changed:
                self.uploads -= 1

    def submit(self, job: Job) -> None:
        with self.changed:
            job.used = self.clock()
            self.jobs[job.id] = job
            self.waiting.append(job)
            self.changed.notify_all()

    def get(self, job_id: str) -> Job | None:
        """Return a job, and note that its page is open."""
        job = self.jobs.get(job_id)
        if job is not None:
            job.used = self.clock()
        return job

    def songs_ahead(self, job: Job) -> int:
        """The number of songs that are separated before this one."""
        with self.changed:
            if job not in self.waiting:
                return 0
            return self.waiting.index(job) + (self.running is not None)

    def cancel(self, job: Job) -> None:
        """Stop a job that waits or runs, and remove its files; a running job stops soon."""
        with self.changed:
            if job in self.waiting:
                self.waiting.remove(job)
            job.cancel()
            runs = job is self.running
        if not runs:
            shutil.rmtree(job.folder, ignore_errors=True)

    def sweep(self) -> None:
        """Cancel the jobs whose page is closed; remove the files of jobs that are no longer used.

        Call it once per second.
        """
        with self.changed:
            jobs = sorted(self.jobs.values(), key=lambda job: job.used, reverse=True)
        now = self.clock()
        kept = []
        for job in jobs:
            unused_seconds = now - job.used
            if not job.state.is_final:
                if unused_seconds > ABSENT_SECONDS:
                    self.cancel(job)
                continue
            kept.append(job)
            if unused_seconds > self.keep_seconds or len(kept) > MOST_KEPT:
                self.cancel(job)
                self.jobs.pop(job.id, None)

    def close(self) -> None:
        """Cancel all jobs and end `run`."""
        with self.changed:
            self.closed = True
            for job in list(self.jobs.values()):
                self.cancel(job)
            self.changed.notify_all()

    def run(self) -> None:
        """Work on jobs until the queue is closed."""
        while (job := self._next()) is not None:
            state, message = State.DONE, None
            try:
                self.work(job)
            except Cancelled:
                state = State.CANCELLED
            except Exception as error:  # one bad song must not end the server
                state, message = State.FAILED, self._message(job, error)
            with self.changed:
                self.running = None
                if job.state is not State.CANCELLED:
                    job.message = job.message if message is None else message
                    job.used = self.clock()
                    job.state = state
            if job.state is not State.DONE:
                shutil.rmtree(job.folder, ignore_errors=True)

    def _next(self) -> Job | None:
        with self.changed:
            self.changed.wait_for(lambda: self.waiting or self.closed)
            if self.closed:
                return None
            self.running = self.waiting.pop(0)
            return self.running

    def _message(self, job: Job, error: Exception) -> str:
        line = one_line(error)
        if line is None:
            traceback.print_exception(error)
            return "the server failed to separate this song; its terminal shows the error"
        return without_paths(line, job)


def without_paths(line: str, job: Job) -> str:
    """Replace the paths of a job's files, which mean nothing to a visitor, by its title."""
    return line.replace(str(job.song), job.title).replace(f"{job.folder}/", "")
