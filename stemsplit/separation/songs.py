"""Separate audio files into folders of stems, SONG/STEM.wav."""

import os
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from rich.progress import Progress

from stemsplit import audio, processes
from stemsplit.audio.entries import is_audio, unreadable
from stemsplit.errors import DISK_FULL, InputError, one_line
from stemsplit.files import replacing_together
from stemsplit.separation.separator import LOUDEST_SAMPLE, Separator

VIDEO = {".3gp", ".avi", ".flv", ".m4b", ".m4v", ".mkv", ".mov", ".mpeg", ".mpg", ".ts", ".wmv"}


def separate_songs(songs: Sequence[Path], output: Path, load: Callable[[], Separator]) -> None:
    """Separate songs into folders of `output`; the processes of torchrun share the songs.

    `load` loads the separator. If a song fails, an error is printed on stderr and the other
    songs are still separated; the program then exits with code 1.
    """
    with processes.process_group():
        folders, errors = output_folders(songs, output)
        failed = list(errors)
        if processes.rank() == 0:
            for error in errors.values():
                print_error(error)
        if folders:
            share = processes.share(list(folders.items()))
            failed += processes.gather(separate_all(load(), share))
        if failed and processes.rank() == 0:
            if (count := len(folders) + len(errors)) > 1:
                names = ", ".join(map(quoted, failed))
                raise InputError(f"{len(failed)} of {count} songs were not separated: {names}")
            sys.exit(1)


def output_folders(songs: Sequence[Path], output: Path) -> tuple[dict[Path, Path], dict[Path, str]]:
    """Return the output folder of every song, and an error for each song that cannot have one.

    A song that is listed twice is separated once.
    """
    by_real_path: dict[str, Path] = {}
    for song in songs:
        by_real_path.setdefault(os.path.realpath(song), song)
    folders: dict[Path, Path] = {}
    errors: dict[Path, str] = {}
    for song in by_real_path.values():
        folder = output / folder_name(song)
        if (reason := unreadable(song)) is not None:
            errors[song] = reason
        elif song.is_dir():
            errors[song] = f"{song}: is a folder; name the songs in it instead"
        elif earlier := [path for path, taken in folders.items() if taken == folder]:
            errors[song] = (
                f"{song}: its stems would go to {folder}, like those of {earlier[0]}; "
                "rename one song"
            )
        else:
            folders[song] = folder
    return folders, errors


def folder_name(song: Path) -> str:
    """Return the song's name without its audio suffix, or "song" if that cannot name a folder."""
    name = song.name
    if is_audio(song) or song.suffix.lower() in VIDEO:
        name = name.removesuffix(song.suffix).removesuffix(".stem")
    return name if name.strip(". ") else "song"


def separate_all(separator: Separator, folders: Iterable[tuple[Path, Path]]) -> list[Path]:
    """Separate each song into its folder; return failed songs, after printing their errors.

    A full disk raises `OSError` at once, because no later song could be written either.
    """
    failed = []
    for song, folder in folders:
        try:
            separate(separator, song, folder)
        except (InputError, OSError) as error:
            line = one_line(error)
            if line is None or (isinstance(error, OSError) and error.errno in DISK_FULL):
                raise
            print_error(line)
            failed.append(song)
    return failed


def print_error(error: str) -> None:
    print(f"error: {error}", file=sys.stderr)


def quoted(path: Path) -> str:
    """Quote a path for a shell."""
    return shlex.quote(str(path))


def read_mixture(song: Path, channels: int) -> audio.Audio:
    """Decode a song as far as possible, and mix surround sound down to `channels`.

    Prints all losses and changes in one line on stderr. Raises `InputError` if no audio can be
    decoded.
    """
    mixture, notes = audio.read_song(song)
    if len(mixture.samples) > 2 and channels <= 2:
        try:
            mixture, note = audio.downmix(mixture, channels)
        except InputError as error:
            raise InputError(f"{song}: {error}") from None
        notes = [*notes, note]
    if notes:
        print(f"{song}: {'; '.join(notes)}", file=sys.stderr)
    return mixture


def separate(separator: Separator, song: Path, folder: Path) -> None:
    """Separate the first audio stream of a song and write its stems to `folder`."""
    print(quoted(song))
    check_folder(folder, separator.stems, song)
    mixture = read_mixture(song, separator.channels)
    warn_of_loud_samples(song, mixture)
    with Progress() as progress:
        bar = progress.add_task("separating", total=1.0)
        try:
            stems = separator.separate(
                torch.from_numpy(mixture.samples),
                mixture.sample_rate,
                lambda fraction: progress.update(bar, completed=fraction),
            )
        except InputError as error:
            raise InputError(f"{song}: {error}") from None
    check_folder(folder, separator.stems, song)  # another process may have written to it
    paths = {stem: folder / f"{stem}.wav" for stem in stems}
    with replacing_together() as partial:
        for stem, samples in stems.items():
            audio.write(partial(paths[stem]), samples.numpy(), mixture.sample_rate)
    for path in paths.values():
        print(quoted(path))


def check_folder(folder: Path, stems: Sequence[str], song: Path) -> None:
    """Raise `InputError` if the folder holds stems of another separator."""
    strays = [
        path.name
        for path in folder.glob("*.wav")
        if path.stem not in stems and path.resolve() != song.resolve()
    ]
    if strays:
        raise InputError(
            f"{folder}: holds {', '.join(sorted(strays))}, which this separator does not write; "
            f"remove these files, or choose another --output for {song}"
        )


def warn_of_loud_samples(song: Path, mixture: audio.Audio) -> None:
    samples = mixture.samples
    peak = max(samples.max(initial=0), -samples.min(initial=0))
    if peak > LOUDEST_SAMPLE:
        seconds = abs(samples).max(axis=0).argmax() / mixture.sample_rate
        print(
            f"{song}: reaches {peak:.3g} at {seconds:.2f} s, but samples should be in ±1; the "
            "stems will be poor there",
            file=sys.stderr,
        )
