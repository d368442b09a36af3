"""Anyone's songs: ``train|valid|test/SONG/STEM.wav``, with stems of any names."""

import mimetypes
from pathlib import Path

from stemsplit.data.tracks import AudioSource, Subset, Track, check_folder
from stemsplit.errors import InputError

SUBSETS: tuple[Subset, ...] = ("train", "valid", "test")
FORMATS = (".wav", ".flac", ".mp3", ".ogg", ".m4a")
MIXTURE = "mixture"
Files = dict[str, Path]  # by stem


def folder(root: Path) -> list[Track]:
    """A folder a song, in it a file a stem and, where there is one, its ``mixture``.

    A stem is named by its file, in small letters. Every song has all stems that any of them has:
    those without a file are silent.
    """
    songs = _songs(root)
    stems = sorted({stem for files in songs.values() for stem in files} - {MIXTURE})
    return [
        Track(
            song.name,
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
    subsets = [subset for subset in SUBSETS if (root / subset).is_dir()]
    if not subsets:
        raise InputError(
            f"{root}: has no folder train, valid or test; data.root must name the folder that "
            "holds them: train/SONG/STEM.wav"
        )
    songs: dict[tuple[Subset, Path], Files] = {}
    seen: dict[str, Path] = {}
    for subset in subsets:
        for song in sorted((root / subset).glob("[!.]*")):
            if song.is_dir():
                # Scores and validation_tracks go by name; and a song is not its own test.
                if song.name in seen:
                    raise InputError(
                        f"{song}: {seen[song.name]} has the same name; rename or remove one"
                    )
                seen[song.name] = song
                songs[subset, song] = _stem_files(song)
            elif _is_audio(song):
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
    for path in sorted(song.glob("[!.]*")):
        if not path.is_file() or not _is_audio(path):
            continue
        if path.suffix.lower() not in FORMATS:
            raise InputError(f"{path}: convert it to one of {', '.join(FORMATS)}, or remove it")
        stem = path.stem.lower()
        if stem in files:
            raise InputError(f"{path}: {files[stem].name} is the same stem; remove one of them")
        files[stem] = path
    if not set(files) - {MIXTURE}:
        raise InputError(
            f"{song}: holds no stem ({', '.join('STEM' + suffix for suffix in FORMATS)}); "
            "put its stems there, or remove the folder"
        )
    return files


def _is_audio(path: Path) -> bool:
    kind, _ = mimetypes.guess_type(path.name)
    return path.suffix.lower() in FORMATS or (kind or "").startswith(("audio/", "video/"))
