"""Find songs that would overwrite each other's stems, or that are stems themselves."""

import os
from collections.abc import Sequence
from pathlib import Path

from stemsplit.audio.entries import is_audio
from stemsplit.errors import InputError
from stemsplit.separation.songs import naming
from stemsplit.separation.songs.listing import Song
from stemsplit.separation.songs.outputs import Output


def with_own_paths(songs: Sequence[Song], output: Output, errors: dict[Path, str]) -> list[Song]:
    """Return the songs whose stems do not overwrite the stems of an earlier song.

    Songs whose stems cannot have valid paths are left out, too. For each song that is left out, an
    error is added to `errors`.
    """
    owners: dict[Path, Song] = {}
    for song in songs:
        try:
            [path] = output.paths(song, ["{stem}"]).values()
        except InputError as error:
            errors[song.path] = f"{song.path}: {error}"
            continue
        owner = owners.setdefault(path, song)
        if owner is not song:
            place = path.parent if naming.has_song_folders(output.template) else path
            errors[song.path] = (
                f"{song.path}: its stems would go to {place}, like those of {owner.path}; "
                "rename one song"
            )
    return list(owners.values())


def without_stems(
    songs: Sequence[Song], output: Output, stems: Sequence[str]
) -> tuple[list[Song], list[Song]]:
    """Return the songs to separate, and the songs that are left out because they are stems.

    An earlier command may have written stems, in any format, into a folder that is now searched. So
    an audio file is left out if one of the `stems` of another song would be written to the same
    path, apart from the suffix.
    """
    writers = {
        os.path.realpath(path.with_suffix("")): song
        for song in songs
        for path in output.paths(song, stems).values()
    }
    to_separate: list[Song] = []
    left_out: list[Song] = []
    for song in songs:
        writer = writers.get(os.path.realpath(song.path.with_suffix("")))
        is_stem = writer not in (None, song) and is_audio(song.path)
        (left_out if is_stem else to_separate).append(song)
    return to_separate, left_out
