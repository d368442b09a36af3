"""Separate songs one by one, or several at the same time in threads."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import FrameType
from typing import NamedTuple

from stemsplit.errors import DISK_FULL, Cancelled, InputError, one_line
from stemsplit.machine.cores import shared_cores
from stemsplit.separation.songs.lines import Lines, SeparatedSong
from stemsplit.separation.songs.listing import Song
from stemsplit.separation.songs.mixture import Progress
from stemsplit.terminal.progress import SongProgress

# A function that takes a song and a progress function. It returns None if it skips the song.
SeparateSong = Callable[[Song, Progress], SeparatedSong | None]


class Outcome(NamedTuple):
    """A song, and its length in seconds: 0 if the song was skipped, None if the song failed."""

    song: Path
    seconds: float | None


def separate_each(
    songs: Sequence[Song], separate: SeparateSong, jobs: int, lines: Lines
) -> list[Outcome]:
    """Separate songs, `jobs` at the same time, and show their progress and their errors.

    A full disk raises `OSError` at once, because no later song could be written either.
    """
    progress = SongProgress(len(songs))
    stopping = Event()

    def outcome(song: Song) -> Outcome:
        if stopping.is_set():
            raise Cancelled
        with progress.song(song.name) as show:

            def show_unless_stopping(fraction: float) -> bool:
                show(fraction)
                return not stopping.is_set()

            try:
                result = separate(song, show_unless_stopping)
            except (InputError, OSError) as error:
                if stopping.is_set():  # the signal may have caused the error
                    raise Cancelled from error
                line = one_line(error)
                if line is None or (isinstance(error, OSError) and error.errno in DISK_FULL):
                    stopping.set()
                    raise
                lines.failed(song.path, line)
                return Outcome(song.path, None)
            except BaseException:
                stopping.set()  # so that this thread does not take the next song
                raise
        return Outcome(song.path, 0.0 if result is None else result.seconds)

    jobs = min(jobs, len(songs))
    with progress.shown(), stopping_at_signals(stopping):
        if jobs <= 1:
            return [outcome(song) for song in songs]
        with shared_cores(jobs):
            return in_threads(songs, outcome, jobs, stopping)


def in_threads(
    songs: Sequence[Song], outcome: Callable[[Song], Outcome], jobs: int, stopping: Event
) -> list[Outcome]:
    """Call `outcome` for each song in `jobs` threads, which share the separator.

    The first error and Ctrl-C set `stopping`. The songs that are being separated then end at their
    next block, and no other song starts.
    """
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(outcome, song) for song in songs]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            errors = [future.exception() for future in futures if future.done()]
            # An error makes the other songs end with `Cancelled`. Raise the error, not `Cancelled`.
            for error in sorted(filter(None, errors), key=lambda it: isinstance(it, Cancelled)):
                raise error
            return [future.result() for future in futures]
        finally:
            stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def stopping_at_signals(stopping: Event) -> Iterator[None]:
    """In the main thread, set `stopping` at Ctrl-C and SIGTERM before their handlers are called.

    If a handler runs while a library is working, the library may swallow the handler's exception,
    or raise another one instead. The handler is then called again at the end of the ``with``
    statement. This end is reached soon, because `stopping` ends each song at its next block of
    audio.
    """
    raised: list[tuple[int, BaseException]] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stopping.set()
        try:
            handlers[number](number, frame)
        except BaseException as error:
            raised.append((number, error))
            raise

    handlers: dict[int, Callable[[int, FrameType | None], object]] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if callable(handler):
                handlers[number] = handler
                signal.signal(number, stop)
    arrived: BaseException | None = None
    try:
        yield
    except BaseException as error:
        arrived = error
        raise
    finally:
        for caught, handler in handlers.items():
            signal.signal(caught, handler)
        if raised and not any(arrived is error for _, error in raised):
            handlers[raised[0][0]](raised[0][0], None)
