"""Separate audio files into folders of stems, SONG/STEM.wav."""

import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from rich.progress import Progress

from stemsplit import audio, processes
from stemsplit.audio.entries import is_audio, unreadable
from stemsplit.errors import DISK_FULL, InputError, one_line
from stemsplit.files import replacing_together
from stemsplit.separation.checkpoint import load
from stemsplit.separation.separator import LOUDEST, Separator

VIDEO = {".3gp", ".avi", ".flv", ".m4b", ".m4v", ".mkv", ".mov", ".mpeg", ".mpg", ".ts", ".wmv"}


def separate_songs(
    songs: Sequence[Path],
    output: Path,
    checkpoints: Sequence[Path],
    allow: Sequence[str] = (),
    device: str = "auto",
) -> None:
    """Separate songs into folders of `output`, a share of them in each process of torchrun.

    Songs that cannot be separated are told on stderr and do not stop the others. Afterwards the
    program exits with code 1.
    """
    with processes.joined():
        folders, errors = output_folders(songs, output)
        failed = list(errors)
        if processes.rank() == 0:
            for error in errors.values():
                tell(error)
        if folders:
            separator = load(checkpoints, allow, processes.device(device))
            share = processes.share(list(folders.items()))
            failed += processes.gather(separate_all(separator, share))
        if failed and processes.rank() == 0:
            if (count := len(folders) + len(errors)) > 1:
                names = ", ".join(map(quoted, failed))
                raise InputError(f"{len(failed)} of {count} songs are not separated: {names}")
            sys.exit(1)


def output_folders(songs: Sequence[Path], output: Path) -> tuple[dict[Path, Path], dict[Path, str]]:
    """A folder for every song, by its name, and the errors of songs that cannot have one.

    A song that is given twice is separated once.
    """
    once: dict[str, Path] = {}
    for song in songs:
        once.setdefault(os.path.realpath(song), song)
    folders: dict[Path, Path] = {}
    errors: dict[Path, str] = {}
    for song in once.values():
        folder = output / folder_name(song)
        if (reason := unreadable(song)) is not None:
            errors[song] = reason
        elif song.is_dir():
            errors[song] = f"{song}: is a folder; give the songs in it"
        elif others := [other for other, taken in folders.items() if taken == folder]:
            errors[song] = (
                f"{song}: its stems would go to {folder}, as those of {others[0]} do; rename one"
            )
        else:
            folders[song] = folder
    return folders, errors


def folder_name(song: Path) -> str:
    """The song's name without an audio file's suffix; always the name of a folder in the output."""
    name = song.name
    if is_audio(song) or song.suffix.lower() in VIDEO:
        name = name.removesuffix(song.suffix).removesuffix(".stem")
    return name if name.strip(". ") else "song"


def separate_all(separator: Separator, folders: Iterable[tuple[Path, Path]]) -> list[Path]:
    """Separate songs, each into its folder; return those that cannot be, with an error for each.

    A full disk ends all of it: the next song would find it full too, after all the work.
    """
    failed = []
    for song, folder in folders:
        try:
            separate(separator, song, folder)
        except (InputError, OSError) as error:
            line = one_line(error)
            if line is None or (isinstance(error, OSError) and error.errno in DISK_FULL):
                raise
            tell(line)
            failed.append(song)
    return failed


def tell(error: str) -> None:
    print(f"error: {error}", file=sys.stderr)


def quoted(path: Path) -> str:
    """A path as it can be pasted into a shell."""
    return shlex.quote(str(path))


def read_mixture(song: Path, channels: int) -> audio.Audio:
    """Decode what can be decoded, and mix surround sound down to what the separator works on.

    One line on stderr says what is lost or changed.
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
    """Write the stems of one song (of its first audio stream)."""
    print(quoted(song))
    check_folder(folder, separator.stems, song)
    mixture = read_mixture(song, separator.channels)
    tell_of_loud_samples(song, mixture)
    with Progress() as progress:
        bar = progress.add_task("separating", total=1.0)
        try:
            stems = separator.separate(
                torch.from_numpy(mixture.samples),
                mixture.sample_rate,
                lambda done: progress.update(bar, completed=done),
            )
        except InputError as error:
            raise InputError(f"{song}: {error}") from None
    check_folder(folder, separator.stems, song)  # another process may have written there
    paths = {stem: folder / f"{stem}.wav" for stem in stems}
    with replacing_together() as partial:
        for stem, samples in stems.items():
            audio.write(partial(paths[stem]), samples.numpy(), mixture.sample_rate)
    for path in paths.values():
        print(quoted(path))


def check_folder(folder: Path, stems: Sequence[str], song: Path) -> None:
    """Raise `InputError` if stems of another separator would be mixed with these."""
    strays = [
        path.name
        for path in folder.glob("*.wav")
        if path.stem not in stems and path.resolve() != song.resolve()
    ]
    if strays:
        raise InputError(
            f"{folder}: holds {', '.join(sorted(strays))}, which this separator does not make; "
            f"remove it, or choose another --output for {song}"
        )


def tell_of_loud_samples(song: Path, mixture: audio.Audio) -> None:
    samples = mixture.samples
    peak = max(samples.max(initial=0), -samples.min(initial=0))
    if peak > LOUDEST:
        seconds = abs(samples).max(axis=0).argmax() / mixture.sample_rate
        print(
            f"{song}: reaches {peak:.3g} at {seconds:.2f} s, where samples are in ±1; "
            "the stems around it are poor",
            file=sys.stderr,
        )
