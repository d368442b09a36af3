"""Your own songs: ``train|valid|test/SONG/STEM.wav``, with stems of any names."""

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
Files = dict[str, Path]  # by stem


def folder(root: Path) -> list[Track]:
    """A folder a song, in it a file a stem and, where there is one, its ``mixture``.

    A stem is named by its file, in small letters. Every song has all stems that any of them has:
    those without a file are silent. (A link to nowhere is listed: its reader says what is wrong.)
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
    check_folder(root)
    subsets = subset_folders(root, SUBSETS)
    if not subsets:
        raise InputError(
            f"{root}: has no folder train, valid or test; data.root must name the folder that "
            "holds them: train/SONG/STEM.wav"
        )
    songs: dict[tuple[Subset, Path], Files] = {}
    seen: dict[str, Path] = {}
    for subset in subsets:
        entries = visible(root / subset)
        check_links(entries)
        for song in entries:
            if song.is_dir():
                # Scores and validation_tracks go by name; and a song is not its own test.
                name = normal(song.name)
                if name in seen:
                    raise InputError(
                        f"{song}: {seen[name]} has the same name; rename or remove one"
                    )
                seen[name] = song
                songs[subset, song] = _stem_files(song)
            elif is_audio(song):
                raise InputError(
                    f"{song}: an audio file where songs have folders; move it to "
                    f"{song.with_suffix('')}/STEM{song.suffix}"
                )
    if not songs:
        raise InputError(
            f"{root}: no songs in {' or '.join(subsets)}; a folder each belongs there, "
            "which holds STEM.wav"
        )
    return songs


def _stem_files(song: Path) -> Files:
    files: Files = {}
    for path in visible(song):
        if not is_audio(path):
            continue
        if path.is_dir():
            raise InputError(f"{path}: is a folder where a file is expected; rename or remove it")
        if path.suffix.lower() not in FORMATS:
            raise InputError(f"{path}: convert it to one of {', '.join(FORMATS)}, or remove it")
        stem = normal(path.stem).lower()
        if stem in files:
            raise InputError(f"{path}: {files[stem].name} is the same stem; remove one of them")
        files[stem] = path
    if not set(files) - {MIXTURE}:
        raise InputError(
            f"{song}: holds no stem ({', '.join('STEM' + suffix for suffix in FORMATS)}); "
            "put its stems there, or remove the folder"
        )
    return files
