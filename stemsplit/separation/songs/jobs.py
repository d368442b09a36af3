"""Separate songs one by one, or some of them at the same time in threads."""

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import NamedTuple

import torch

from stemsplit.errors import DISK_FULL, InputError, one_line
from stemsplit.separation.songs.lines import Lines, SeparatedSong
from stemsplit.separation.songs.listing import Song
from stemsplit.terminal.progress import SongProgress

# Gets a song and a progress function; returns None for a song that is skipped.
SeparateSong = Callable[[Song, Callable[[float], None]], SeparatedSong | None]


SECONDS_TO_END = 5.0  # enough to remove the temporary files of a song


class Outcome(NamedTuple):
    """The length of a song that was separated, 0 for a skipped song, None for a failed one."""

    song: Path
    seconds: float | None


def separate_each(
    songs: Sequence[Song], separate: SeparateSong, jobs: int, lines: Lines
) -> list[Outcome]:
    """Separate songs, `jobs` at the same time, and show their progress and their errors.

    A full disk raises `OSError` at once, because no later song could be written either.
    """
    progress = SongProgress(len(songs))

    def outcome(song: Song) -> Outcome:
        with progress.song(song.name) as show:
            try:
                result = separate(song, show)
            except (InputError, OSError) as error:
                line = one_line(error)
                if line is None or (isinstance(error, OSError) and error.errno in DISK_FULL):
                    raise
                lines.failed(song.path, line)
                return Outcome(song.path, None)
        return Outcome(song.path, 0.0 if result is None else result.seconds)

    jobs = min(jobs, len(songs))
    with progress.shown():
        if jobs <= 1:
            return [outcome(song) for song in songs]
        with shared_cores(jobs):
            return in_threads(songs, outcome, jobs)


def in_threads(
    songs: Sequence[Song], outcome: Callable[[Song], Outcome], jobs: int
) -> list[Outcome]:
    """Call `outcome` for each song in `jobs` threads, which share the separator.

    The first error and Ctrl-C end the threads after their current operation.
    """
    waiting: SimpleQueue[tuple[int, Song]] = SimpleQueue()
    ended: SimpleQueue[tuple[int, Outcome | Exception]] = SimpleQueue()
    for item in enumerate(songs):
        waiting.put(item)

    def work() -> None:
        while True:
            try:
                number, song = waiting.get_nowait()
            except Empty:
                return
            try:
                ended.put((number, outcome(song)))
            except Exception as error:
                ended.put((number, error))
                return
            except SystemExit:  # raised by `end`
                return

    threads = [Thread(target=work) for _ in range(jobs)]
    outcomes: dict[int, Outcome] = {}
    try:
        for thread in threads:
            thread.start()
        while len(outcomes) < len(songs):
            number, result = ended.get()
            if isinstance(result, Exception):
                raise result
            outcomes[number] = result
    except BaseException:
        for thread in threads:
            end(thread)
        # The exception is lost if it comes while a library ignores exceptions.
        while alive := [thread for thread in threads if thread.is_alive()]:
            alive[0].join(SECONDS_TO_END)
            if alive[0].is_alive():
                end(alive[0])
        raise
    return [outcomes[number] for number in sorted(outcomes)]


def end(thread: Thread) -> None:
    """Raise `SystemExit` in a thread, so that it removes its temporary files and ends.

    Without this, Ctrl-C would wait until the thread has written its next block: a minute or more.
    """
    if thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)
        )


@contextmanager
def shared_cores(jobs: int) -> Iterator[None]:
    """Give each of `jobs` threads an equal number of torch's threads inside the block."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // jobs))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
