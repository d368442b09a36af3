"""The queue of the page: songs wait here until one thread separates them in turn."""

import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stemsplit.errors import Cancelled, one_line
from stemsplit.page.job import Job, State
from stemsplit.terminal.counts import counted

ABSENT_SECONDS = 30.0  # an unfinished song is cancelled when its page is closed for this long
# The page of a separated song counts as open for this long after its last report. This is more than
# a minute, because browsers allow a hidden page only one report per minute.
OPEN_SECONDS = 90.0
REMOVED = (State.FAILED, State.CANCELLED)  # states of jobs without files


class QueueFullError(Exception):
    """The server accepts no song now; the message says why."""


class JobQueue:
    """The jobs of all visitors. One thread calls `run`; any thread may call the other methods.

    `run` calls `work` for one job after the other. `work` separates the song and sets the states
    of the job. At most `places` songs wait or are uploaded at the same time. The files of a job are
    removed when the job fails or is cancelled, and `keep_seconds` after its last use. At most
    `most_songs` songs are stored. At this limit, a new song replaces the separated song that has
    been unused for longest. It never replaces a song whose page was open in the last
    `OPEN_SECONDS`.
    """

    def __init__(
        self,
        work: Callable[[Job], None],
        places: int,
        most_songs: int,
        keep_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.work = work
        self.places = places
        self.most_songs = most_songs
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
                raise QueueFullError("too many songs are waiting; try again later")
            self._replaced_by(self.uploads + 1)
            self.uploads += 1
        try:
            yield
        finally:
            with self.changed:
                self.uploads -= 1

    def submit(self, job: Job) -> None:
        """Add a job. If `most_songs` songs are already stored, the new job replaces one of them.

        Raises `QueueFullError` if no stored song can be replaced.
        """
        with self.changed:
            replaced = self._replaced_by(1)
            for other in replaced:
                other.cancel()
                del self.jobs[other.id]
            job.used = job.seen = self.clock()
            self.jobs[job.id] = job
            self.waiting.append(job)
            self.changed.notify_all()
        for other in replaced:
            other.remove_files()

    def _replaced_by(self, songs: int) -> list[Job]:
        """The old jobs that make room for `songs` new ones; they are not removed here.

        Raises `QueueFullError` if too few old jobs can be removed.
        """
        stored = [job for job in self.jobs.values() if job.state not in REMOVED]
        closed = [
            job
            for job in sorted(stored, key=lambda job: job.used)
            if job.state is State.DONE and self.clock() - job.seen > OPEN_SECONDS
        ]
        surplus = max(0, len(stored) + songs - self.most_songs)
        if surplus > len(closed):
            raise QueueFullError(
                f"the server is full ({counted(self.most_songs, 'song')}): every song is "
                f"unfinished, or its page was open in the last {OPEN_SECONDS:.0f} seconds; try "
                "again later"
            )
        return closed[:surplus]

    def get(self, job_id: str) -> Job | None:
        """Return a job, and note that it is used and its page is open; None if it is removed."""
        job = self.see(job_id)
        if job is not None:
            job.used = job.seen
        return job

    def see(self, job_id: str) -> Job | None:
        """Return a job, and note that its page is open; None if it is removed."""
        job = self.jobs.get(job_id)
        if job is not None:
            job.seen = self.clock()
        return job

    def songs_ahead(self, job: Job) -> int:
        """The number of songs that are separated before this one."""
        with self.changed:
            if job not in self.waiting:
                return 0
            return self.waiting.index(job) + (self.running is not None)

    def cancel(self, job: Job) -> None:
        """Cancel a job and remove its files. If the job runs, `run` removes them when it stops."""
        with self.changed:
            if job in self.waiting:
                self.waiting.remove(job)
            job.cancel()
            runs = job is self.running
        if not runs:
            job.remove_files()

    def sweep(self) -> None:
        """Cancel unfinished jobs whose page is closed; remove finished jobs that nobody uses.

        Call this method once per second.
        """
        with self.changed:
            jobs = list(self.jobs.values())
        now = self.clock()
        for job in jobs:
            if job.readers:  # a long download is a use until it ends
                job.used = job.seen = now
            unused_seconds = now - job.used
            if job.state.is_final and unused_seconds > self.keep_seconds:
                self.cancel(job)
                with self.changed:
                    self.jobs.pop(job.id, None)
            elif not job.state.is_final and unused_seconds > ABSENT_SECONDS:
                self.cancel(job)

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
                job.remove_files()

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
    """Replace the path of a job's song with its title, and remove its folder from other paths."""
    return line.replace(str(job.song), job.title).replace(f"{job.folder}/", "")
