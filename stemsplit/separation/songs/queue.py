"""List songs, separate them and print what happens to each."""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from stemsplit import processes
from stemsplit.errors import InputError
from stemsplit.processes import Part
from stemsplit.separation.chunks.inference import Inference
from stemsplit.separation.ensemble import Ensemble
from stemsplit.separation.separator import Separator
from stemsplit.separation.songs.jobs import Outcome, separate_each
from stemsplit.separation.songs.lines import Lines, SeparatedSong, speed_text
from stemsplit.separation.songs.listing import Song, list_songs
from stemsplit.separation.songs.mixture import Progress
from stemsplit.separation.songs.outputs import Output
from stemsplit.separation.songs.plan import with_own_paths, without_stems
from stemsplit.separation.songs.song import separate_song
from stemsplit.terminal.controls import quoted

MOST_NAMES = 5  # the last line names at most this number of failed songs


class Settings(NamedTuple):
    """Settings for the separation of songs.

    `jobs` songs are separated at the same time. With `skip_existing`, a song is skipped if all its
    stems exist. Only the songs of `part` are separated.
    """

    output: Output
    inference: Inference
    jobs: int = 1
    skip_existing: bool = False
    part: Part = Part()

    def check(self) -> None:
        """Raise `InputError` for settings that do not fit together, independently of the songs."""
        self.output.check()
        self.inference.check()
        if self.jobs < 1:
            raise InputError(f"jobs {self.jobs} must be 1 or more")


def separate_songs(
    words: Sequence[Path],
    settings: Settings,
    load: Callable[[], Separator | Ensemble],
    lines: Lines,
) -> None:
    """Separate the songs that the words of a command line name: files, folders and patterns.

    Several processes share the songs. `load` loads the separator. If a song fails, an error is
    printed on stderr and the other songs are still separated; the program then exits with code 1.
    If a process exits with an error, torchrun ends all other processes. So with torchrun, only the
    first process exits with code 1, after all songs. With srun, each process exits with code 1 if
    one of its own songs failed.
    """
    with processes.process_group():
        songs, errors = list_songs(words, settings.output.folder)
        songs = with_own_paths(songs, settings.output, errors)
        not_listed = errors if is_first(settings) else {}
        for path, error in not_listed.items():
            lines.failed(path, error)
        outcomes = separated(songs, settings, load, lines) if songs else []
        if processes.rank() == 0:
            exit_if_failed(outcomes, list(not_listed))


def is_first(settings: Settings) -> bool:
    """Whether this process prints the messages that concern all processes and all parts."""
    return settings.part.start == processes.own_part().start == 0


def separated(
    songs: Sequence[Song],
    settings: Settings,
    load: Callable[[], Separator | Ensemble],
    lines: Lines,
) -> list[Outcome]:
    """Separate songs with different output paths; return the outcomes of the process group."""
    if part_is_empty(songs, settings, lines):
        return []
    separator = load()
    separator.check(settings.inference)
    stems = settings.output.selection(separator.stems)
    songs, left_out = without_stems(songs, settings.output, list(stems))
    if left_out and is_first(settings):
        files = "file is a stem" if len(left_out) == 1 else "files are stems"
        lines.warn(f"{len(left_out)} {files} of listed songs and skipped: {left_out[0].path} …")
    if part_is_empty(songs, settings, lines):
        return []
    started = time.perf_counter()

    def separate(song: Song, show: Progress) -> SeparatedSong | None:
        paths = settings.output.paths(song, list(stems))
        if settings.skip_existing and all(path.is_file() for path in paths.values()):
            lines.skipped(song.path, paths)
            return None
        lines.started(song.path)
        result = separate_song(separator, song, settings.output, settings.inference, show)
        lines.separated(song.path, result)
        return result

    share = processes.own_part().of(settings.part.of(songs))
    outcomes = processes.gather(separate_each(share, separate, settings.jobs, lines))
    seconds = [outcome.seconds for outcome in outcomes if outcome.seconds]
    if len(seconds) > 1 and processes.rank() == 0:
        elapsed = time.perf_counter() - started
        lines.print(f"{len(seconds)} songs: {speed_text(sum(seconds), elapsed)}")
    return outcomes


def part_is_empty(songs: Sequence[Song], settings: Settings, lines: Lines) -> bool:
    """Whether there are no songs for the part of this command; print a line if so."""
    part = settings.part
    if part.of(songs):
        return False
    if processes.own_part().start == 0:
        lines.print(f"part {part.start + 1}/{part.step} contains no songs ({len(songs)} in all)")
    return True


def exit_if_failed(outcomes: Sequence[Outcome], not_listed: Sequence[Path]) -> None:
    """Exit with code 1 if the only song failed; raise `InputError` if one of several songs failed.

    `not_listed` are paths that could not be used as songs. The error of each song has already been
    printed.
    """
    failed = [*not_listed, *(outcome.song for outcome in outcomes if outcome.seconds is None)]
    if (count := len(outcomes) + len(not_listed)) > 1 and failed:
        names = ", ".join(map(quoted, failed[:MOST_NAMES]))
        if more := failed[MOST_NAMES:]:
            names += f" and {len(more)} more (see above)"
        raise InputError(f"{len(failed)} of {count} songs could not be separated: {names}")
    if failed:
        sys.exit(1)
