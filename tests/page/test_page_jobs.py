"""The queue of the page, with a clock that the test sets."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stemsplit.errors import InputError
from stemsplit.page.job import Job, State
from stemsplit.page.jobs import ABSENT_SECONDS, OPEN_SECONDS, JobQueue, QueueFullError

KEEP_SECONDS = 600.0
MOST_SONGS = 4


class Place:
    """A queue whose jobs end when the test opens the gate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 0.0
        self.gate = threading.Event()
        self.worked: list[str] = []
        self.queue = JobQueue(self.work, 3, MOST_SONGS, KEEP_SECONDS, self.clock)
        self.thread = threading.Thread(target=self.queue.run, daemon=True)
        self.thread.start()

    def clock(self) -> float:
        return self.now

    def work(self, job: Job) -> None:
        job.enter(State.SEPARATING)
        self.worked.append(job.title)
        if job.title == "bad":
            raise InputError(f"{job.song}: is damaged")
        if job.title == "bug":
            raise ZeroDivisionError
        while not self.gate.wait(0.005):
            job.progress(0.5)
            job.enter(State.SEPARATING)

    def submit(self, title: str) -> Job:
        folder = self.folder / title
        folder.mkdir()
        job = Job(folder, title, "model")
        job.song.write_bytes(b"song")
        self.queue.submit(job)
        return job

    def wait(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.002)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.gate.set()
    place.queue.close()
    place.thread.join(10)
    assert not place.thread.is_alive()


def test_songs_are_separated_in_order(place: Place) -> None:
    jobs = [place.submit(title) for title in "abc"]
    place.wait(lambda: jobs[0].state is State.SEPARATING)
    assert [place.queue.songs_ahead(job) for job in jobs] == [0, 1, 2]
    place.queue.cancel(jobs[1])
    assert [place.queue.songs_ahead(job) for job in jobs] == [0, 0, 1]
    place.gate.set()
    place.wait(lambda: jobs[2].state is State.DONE)
    assert place.worked == ["a", "c"]
    assert [job.state for job in jobs] == [State.DONE, State.CANCELLED, State.DONE]


def test_cancelled_songs_are_removed(place: Place) -> None:
    running, waiting = place.submit("a"), place.submit("b")
    place.wait(lambda: running.state is State.SEPARATING)
    for job in (running, waiting):
        place.queue.cancel(job)
        place.wait(lambda job=job: not job.folder.exists())
        assert job.state is State.CANCELLED
    assert place.queue.running is None


def test_bad_song_does_not_stop_the_queue(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.gate.set()
    jobs = [place.submit(title) for title in ("bad", "bug", "good")]
    place.wait(lambda: jobs[2].state is State.DONE)
    bad, bug, good = jobs
    assert (bad.state, bad.message) == (State.FAILED, "bad: is damaged")
    assert bug.state is State.FAILED
    assert "its terminal shows the error" in bug.message
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert [job.folder.exists() for job in jobs] == [False, False, True]
    assert good.message == ""


def test_full_queue_refuses_uploads(place: Place) -> None:
    running = place.submit("a")
    place.wait(lambda: running.state is State.SEPARATING)
    place.submit("b")
    place.submit("c")
    for _ in range(2):  # the end of an upload frees its place
        with (
            place.queue.reserve_place(),
            pytest.raises(QueueFullError),
            place.queue.reserve_place(),
        ):
            pass


def test_songs_of_closed_pages_are_cancelled(place: Place) -> None:
    running, closed, opened = (place.submit(title) for title in "abc")
    place.wait(lambda: running.state is State.SEPARATING)
    place.now = ABSENT_SECONDS
    assert place.queue.get(opened.id) is opened
    place.queue.sweep()
    assert closed.state is State.WAITING
    place.now += 1
    place.queue.sweep()
    assert [job.state for job in (running, closed, opened)] == [
        State.CANCELLED,
        State.CANCELLED,
        State.SEPARATING if place.queue.running is opened else State.WAITING,
    ]
    place.wait(lambda: not running.folder.exists() and not closed.folder.exists())
    assert opened.folder.exists()


def test_separated_songs_are_kept_after_their_last_use(place: Place) -> None:
    place.gate.set()
    job = place.submit("a")
    place.wait(lambda: job.state is State.DONE)
    place.now = KEEP_SECONDS
    place.queue.get(job.id)
    place.now += KEEP_SECONDS
    place.queue.sweep()
    assert job.song.exists()
    place.now += 1
    place.queue.sweep()
    assert not job.folder.exists()
    assert place.queue.get(job.id) is None


def full(place: Place) -> list[Job]:
    """As many separated songs as the server stores, whose pages are closed."""
    place.gate.set()
    jobs = []
    for number in range(MOST_SONGS):
        jobs.append(place.submit(f"song {number}"))
        place.wait(lambda: jobs[-1].state is State.DONE)
        place.now += 1
    place.now += OPEN_SECONDS
    return jobs


def test_new_song_replaces_the_one_unused_for_longest(place: Place) -> None:
    jobs = full(place)
    place.queue.get(jobs[0].id)
    place.now += OPEN_SECONDS + 1
    with place.queue.reserve_place():
        place.queue.sweep()
        assert all(job.folder.exists() for job in jobs)  # the upload may fail
    for number in (1, 2):
        place.submit(f"new {number}")
        assert [job.title for job in jobs if not job.folder.exists()] == [
            f"song {replaced}" for replaced in range(1, number + 1)
        ]
    assert place.queue.get(jobs[1].id) is None
    assert place.queue.get(jobs[0].id) is jobs[0]


def test_songs_with_an_open_page_are_not_replaced(place: Place) -> None:
    jobs = full(place)
    for job in jobs:
        place.queue.see(job.id)
    place.now += OPEN_SECONDS
    with (
        pytest.raises(QueueFullError, match=r"full \(4 songs\): .* in the last 90 seconds; try"),
        place.queue.reserve_place(),
    ):
        pass
    with pytest.raises(QueueFullError, match="the server is full"):
        place.submit("new")
    assert all(job.folder.exists() for job in jobs)
    for job in jobs[:3]:
        place.queue.see(job.id)
    place.now += 1
    with place.queue.reserve_place():
        with pytest.raises(QueueFullError, match="the server is full"), place.queue.reserve_place():
            pass
        place.submit("another")
    assert [job.folder.exists() for job in jobs] == [True, True, True, False]


def test_open_page_is_no_use_of_the_files(place: Place) -> None:
    [job, *_] = full(place)
    place.now = KEEP_SECONDS + 1
    place.queue.see(job.id)
    place.queue.sweep()
    assert not job.folder.exists()


def test_failed_and_cancelled_songs_take_no_place(place: Place) -> None:
    jobs = full(place)
    place.queue.cancel(jobs[3])
    bad = place.submit("bad")
    place.wait(lambda: bad.state is State.FAILED)
    place.submit("good")
    assert [job.folder.exists() for job in jobs] == [True, True, True, False]


def test_files_stay_while_they_are_read(place: Place) -> None:
    [job, *_] = full(place)
    with job.reading() as state, job.reading():
        assert state is State.DONE
        place.now = 2 * KEEP_SECONDS
        place.queue.sweep()
        assert job.song.exists()  # a long download is a use
        place.queue.cancel(job)
        with job.reading() as state:
            assert state is State.CANCELLED
        assert job.song.exists()
    assert not job.folder.exists()


def test_close_ends_all_jobs(place: Place) -> None:
    jobs = [place.submit("a"), place.submit("b")]
    place.wait(lambda: jobs[0].state is State.SEPARATING)
    place.queue.close()
    place.thread.join(10)
    assert all(job.state is State.CANCELLED and not job.folder.exists() for job in jobs)
