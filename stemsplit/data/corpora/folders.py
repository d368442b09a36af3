"""A corpus of your own songs: ``train|valid|test/SONG/STEM.wav``, with any stem names."""

from pathlib import Path

from stemsplit.audio.entries import (
    FORMATS,
    check_links,
    is_audio,
    normal,
    subset_folders,
    visible,
)
from stemsplit.data.tracks import AudioSource, Subset, Track, check_folder
from stemsplit.errors import InputError

SUBSETS: tuple[Subset, ...] = ("train", "valid", "test")
MIXTURE = "mixture"
Files = dict[str, Path]  # stem → file


def folder(root: Path) -> list[Track]:
    """List the songs of a corpus with one folder per song and one file per stem.

    The name of a stem is the name of its file without suffix, in lower case; ``mixture`` is
    optional. Every song gets all stems that any song has; stems without a file are silent. Broken
    links to stems are listed, and reading them raises an error.

    Raises `InputError` if there are no songs, if a link to a song is broken, if two songs or stems
    have the same name, or if a file is in the wrong place.
    """
    songs = _songs(root)
    stems = sorted({stem for files in songs.values() for stem in files} - {MIXTURE})
    return [
        Track(
            normal(song.name),
            subset,
            _source(files, MIXTURE),
            {stem: _source(files, stem) for stem in stems},
        )
        for (subset, song), files in songs.items()
    ]


def _source(files: Files, stem: str) -> AudioSource | None:
    return AudioSource(files[stem]) if stem in files else None


def _songs(root: Path) -> dict[tuple[Subset, Path], Files]:
    """The stem files of every song, by subset and folder."""
    check_folder(root)
    subsets = subset_folders(root, SUBSETS)
    if not subsets:
        raise InputError(
            f"{root}: has no folder train, valid or test; set data.root to a folder with files "
            "such as train/SONG/STEM.wav"
        )
    songs: dict[tuple[Subset, Path], Files] = {}
    seen: dict[str, Path] = {}
    for subset in subsets:
        entries = visible(root / subset)
        check_links(entries)
        for song in entries:
            if song.is_dir():
                # Scores and validation_tracks refer to songs by name, so names must be unique.
                name = normal(song.name)
                if name in seen:
                    raise InputError(
                        f"{song}: {seen[name]} has the same name; rename or remove one of them"
                    )
                seen[name] = song
                songs[subset, song] = _stem_files(song)
            elif is_audio(song):
                raise InputError(
                    f"{song}: is an audio file, but every song needs a folder; move it to "
                    f"{song.with_suffix('')}/STEM{song.suffix}"
                )
    if not songs:
        raise InputError(
            f"{root}: no songs in {' or '.join(subsets)}; add a folder for each song, with files "
            "such as STEM.wav"
        )
    return songs


def _stem_files(song: Path) -> Files:
    """The audio files of a song, its mixture included, by stem."""
    files: Files = {}
    for path in visible(song):
        if not is_audio(path):
            continue
        if path.is_dir():
            raise InputError(f"{path}: is a folder, but a file is expected; rename or remove it")
        if path.suffix.lower() not in FORMATS:
            raise InputError(f"{path}: convert it to one of {', '.join(FORMATS)} or remove it")
        stem = normal(path.stem).lower()
        if stem in files:
            raise InputError(f"{path}: {files[stem].name} is the same stem; remove one of them")
        files[stem] = path
    if not set(files) - {MIXTURE}:
        raise InputError(
            f"{song}: the folder has no stem ({', '.join('STEM' + suffix for suffix in FORMATS)}); "
            "add the stems or remove the folder"
        )
    return files
