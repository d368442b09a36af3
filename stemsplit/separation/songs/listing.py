"""List the songs that a command line names: files, folders and patterns."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from stemsplit.audio.entries import is_audio, unreadable, visible
from stemsplit.errors import InputError

VIDEO = {".3gp", ".avi", ".flv", ".m4b", ".m4v", ".mkv", ".mov", ".mpeg", ".mpg", ".ts", ".wmv"}


class Song(NamedTuple):
    """A song file and its name in the output.

    If a command names a folder, the names of songs in its subfolders start with the subfolder, as
    in ``album/song``.
    """

    path: Path
    name: str


class Listing(NamedTuple):
    """The songs without duplicates, and an error for each path that cannot be used."""

    songs: list[Song]
    errors: dict[Path, str]


def list_songs(words: Sequence[Path], output: Path) -> Listing:
    """List the songs that the words of a command line name: files, folders and patterns.

    A folder stands for the audio files in it and in its subfolders, except hidden files and the
    subfolder `output`. A word is a pattern, such as ``*.wav``, only if no file has this name.
    """
    songs: dict[str, Song] = {}
    errors: dict[Path, str] = {}
    for word in words:
        try:
            for path in matches(word):
                for song in songs_at(path, output, errors):
                    songs.setdefault(os.path.realpath(song.path), song)
        except InputError as error:
            errors[word] = str(error)
    return Listing(list(songs.values()), errors)


def matches(word: Path) -> list[Path]:
    """Return the paths that match a pattern, or the path itself if it is not a pattern."""
    if os.path.lexists(word) or not glob.has_magic(str(word)):
        return [word]
    paths = sorted(glob.glob(str(word), recursive=True))
    if not paths:
        raise InputError(f"{word}: no file has this name or matches this pattern")
    return [Path(path) for path in paths]


def songs_at(path: Path, output: Path, errors: dict[Path, str]) -> Iterator[Song]:
    """Yield the song at a path, or the songs in a folder. Add unreadable entries to `errors`."""
    if (reason := unreadable(path)) is not None:
        raise InputError(reason)
    if not path.is_dir():
        yield Song(path, song_name(path))
        return
    is_empty = True
    for song in files_in(path, {os.path.realpath(output)}, errors):
        is_empty = False
        yield Song(song, song.relative_to(path).with_name(song_name(song)).as_posix())
    if is_empty and not any(path in error.parents for error in errors):
        raise InputError(f"{path}: holds no audio file; name a song, or another folder")


def files_in(folder: Path, skipped: set[str], errors: dict[Path, str]) -> Iterator[Path]:
    """Yield the audio files in a folder and its subfolders, except in the folders `skipped`."""
    skipped.add(os.path.realpath(folder))  # a link may lead back to this folder
    try:
        entries = visible(folder)
    except InputError as error:
        errors[folder] = str(error)
        return
    for entry in entries:
        if entry.is_dir():
            if os.path.realpath(entry) not in skipped:
                yield from files_in(entry, skipped, errors)
        elif is_audio(entry):
            if (reason := unreadable(entry)) is not None:
                errors[entry] = reason
            else:
                yield entry


def song_name(song: Path) -> str:
    """Return the file's name without its audio suffix, or "song" if it has only dots and spaces."""
    name = song.name
    if is_audio(song) or song.suffix.lower() in VIDEO:
        name = name.removesuffix(song.suffix).removesuffix(".stem")
    return name if name.strip(". ") else "song"
