"""Several songs at the same time."""

import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from stemsplit.errors import Cancelled, InputError
from stemsplit.files import exit_at_sigterm
from stemsplit.separation.songs.jobs import Outcome, separate_each
from stemsplit.separation.songs.lines import Lines, SeparatedSong
from stemsplit.separation.songs.listing import Song

SONGS = [Song(Path(f"{name}.wav"), name) for name in "abcd"]
Show = Callable[[float], bool]


def result(seconds: float) -> SeparatedSong:
    return SeparatedSong({}, seconds, 1.0, [])


@pytest.mark.parametrize("jobs", [1, 2, 4, 9])
def test_outcomes_keep_the_order_of_the_songs(
    jobs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def separate(song: Song, show: Show) -> SeparatedSong | None:
        show(0.5)
        if song.name == "b":
            raise InputError("b.wav: is bad")
        time.sleep(0.02 if song.name == "a" else 0)
        return None if song.name == "c" else result(2.0)

    outcomes = separate_each(SONGS, separate, jobs, Lines(as_json=False))
    paths = [song.path for song in SONGS]
    assert outcomes == list(map(Outcome, paths, [2.0, None, 0.0, 2.0]))
    assert capsys.readouterr().err == "error: b.wav: is bad\n"


@pytest.mark.parametrize(("jobs", "threads"), [(2, 2), (4, 1)])
def test_jobs_run_at_the_same_time_and_share_the_cores(jobs: int, threads: int) -> None:
    barrier = threading.Barrier(jobs, timeout=20)

    def separate(song: Song, show: Show) -> SeparatedSong:
        barrier.wait()
        return result(float(torch.get_num_threads()))

    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        outcomes = separate_each(SONGS, separate, jobs, Lines(as_json=False))
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
    assert [outcome.seconds for outcome in outcomes] == [threads] * 4


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyError("a bug")])
def test_error_that_concerns_all_songs_ends_the_others(error: Exception) -> None:
    ended = []

    def separate(song: Song, show: Show) -> SeparatedSong:
        if song.name == "b":
            raise error
        for _ in range(2000):
            time.sleep(0.01)
            if not show(0.5):  # as in `mixture.with_progress`
                ended.append(song.name)
                raise Cancelled
        return result(1.0)

    with pytest.raises(type(error)):
        separate_each(SONGS, separate, 2, Lines(as_json=False))
    assert ended == ["a"]  # it was interrupted, and the songs after it did not start
    assert threading.active_count() == 1


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_signal_whose_exception_is_lost_ends_the_songs(
    number: signal.Signals, error: type[BaseException]
) -> None:
    separated = []

    def separate(song: Song, show: Show) -> SeparatedSong:
        separated.append(song.name)
        with suppress(error):
            signal.raise_signal(number)
        if not show(0.5):
            raise Cancelled
        return result(1.0)

    with exit_at_sigterm(), pytest.raises(error):
        separate_each(SONGS, separate, 1, Lines(as_json=False))
    assert separated == ["a"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("other", [None, InputError("bad file"), RuntimeError("lost")])
@pytest.mark.parametrize("name", ["a", "d"])
def test_signal_that_becomes_another_error_ends_the_songs(
    jobs: int, other: Exception | None, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also in the last song. With two jobs, the signal may arrive in the main thread."""

    def separate(song: Song, show: Show) -> SeparatedSong:
        if song.name == name:
            try:
                signal.raise_signal(signal.SIGTERM)
                time.sleep(0.2)
            except SystemExit:
                if other is not None:
                    raise other from None
        return result(1.0)

    with exit_at_sigterm(), pytest.raises(SystemExit) as ended:
        separate_each(SONGS, separate, jobs, Lines(as_json=False))
    assert ended.value.code == 128 + signal.SIGTERM
    assert capsys.readouterr().err == ""


def test_handler_that_returns_is_called_once() -> None:
    calls = []
    before = signal.signal(signal.SIGINT, lambda number, frame: calls.append(number))

    def separate(song: Song, show: Show) -> SeparatedSong:
        signal.raise_signal(signal.SIGINT)
        if not show(0.5):
            raise Cancelled
        return result(1.0)

    try:
        with pytest.raises(Cancelled):
            separate_each(SONGS, separate, 1, Lines(as_json=False))
    finally:
        signal.signal(signal.SIGINT, before)
    assert calls == [signal.SIGINT]
