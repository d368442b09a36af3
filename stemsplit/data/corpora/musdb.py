"""MUSDB18, MUSDB18-HQ and the 7 s previews of MUSDB18."""

import os
import shutil
from pathlib import Path
from types import ModuleType
from zipfile import BadZipFile

from stemsplit.audio.entries import check_links, normal, subset_folders, visible
from stemsplit.data.tracks import AudioSource, Subset, Track, check_folder
from stemsplit.errors import InputError
from stemsplit.files import one_at_a_time


def musdb18(root: Path) -> list[Track]:
    """List MUSDB18: ``*.stem.mp4`` in ``train/`` and ``test/``.

    The 14 official validation songs are recognised by name. Raises `InputError` if there are no
    songs or two songs have the same name.
    """
    return _musdb(root, is_wav=False)


def musdb18hq(root: Path) -> list[Track]:
    """List MUSDB18-HQ: ``mixture.wav`` and the stems in ``train/SONG/`` and ``test/SONG/``.

    Raises `InputError` in the same cases as `musdb18`, and for broken links.
    """
    return _musdb(root, is_wav=True)


def musdb7(root: Path) -> list[Track]:
    """List the previews of MUSDB18, 7 s of each song.

    If `root` is empty or does not exist, musdb downloads the previews. Raises `InputError` if the
    download fails.
    """
    if not root.is_dir() or not any(root.iterdir()):
        with one_at_a_time(root.parent, "downloads the previews of MUSDB18"):
            if not root.is_dir() or not any(root.iterdir()):
                _download_previews(root)
    return musdb18(root)


def _download_previews(root: Path) -> None:
    # Download to another folder and rename it, so that `root` never has an incomplete download.
    partial = root.with_name(f".{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _import_musdb().DB(root=str(partial), download=True, subsets=[])
        if root.is_dir():
            root.rmdir()
        partial.rename(root)
    except (OSError, RuntimeError, BadZipFile) as error:
        raise InputError(
            f"{root}: cannot download the previews of MUSDB18 ({error}); on a machine with network "
            "access, run python -c 'import musdb; musdb.DB(root=\"musdb7\", download=True)', copy "
            "the folder musdb7 to this machine and set data.root=/path/to/musdb7"
        ) from None


def _import_musdb() -> ModuleType:
    try:
        import musdb
    except RuntimeError as error:  # musdb imports stempeg, which looks for ffmpeg
        raise InputError(f"musdb needs the program ffmpeg: run `make setup` ({error})") from None
    return musdb


def _musdb(root: Path, is_wav: bool) -> list[Track]:
    check_folder(root)
    subsets: tuple[Subset, ...] = ("train", "test")
    folders = subset_folders(root, subsets)
    if not folders:
        raise InputError(
            f"{root}: has neither a train nor a test folder; "
            "set data.root to the folder of the corpus"
        )
    # musdb tells which stream or file holds which stem, and names the validation songs. Its list of
    # songs is not used, because musdb would call ffprobe for each song, and the error for a damaged
    # song would not name the song.
    layout = _import_musdb().DB(root=str(root), subsets=[]).setup
    official = set(layout["validation_tracks"])
    tracks = []
    seen: dict[str, Path] = {}
    stems: dict[str, AudioSource | None]
    for folder in folders:
        entries = visible(root / folder)
        if is_wav:
            check_links(entries)
        for entry in entries:
            if is_wav:
                name, mixture = normal(entry.name), entry / layout["mixture"]
                if not (entry.is_dir() and visible(entry) and os.path.lexists(mixture)):
                    continue
                files = {stem: entry / file for stem, file in layout["sources"].items()}
                stems = {s: AudioSource(path) for s, path in files.items() if os.path.lexists(path)}
            else:
                if not entry.name.endswith(".stem.mp4"):
                    continue
                name, mixture = normal(entry.name.removesuffix(".stem.mp4")), entry
                streams = layout["stem_ids"]
                stems = {stem: AudioSource(mixture, streams[stem]) for stem in layout["sources"]}
            if (first := seen.setdefault(name, mixture)) != mixture:
                raise InputError(
                    f"{mixture}: {first} has the same name; rename or remove one of them"
                )
            subset: Subset = "valid" if folder == "train" and name in official else folder
            tracks.append(Track(name, subset, AudioSource(mixture), stems))
    if not tracks:
        expected = "folders with mixture.wav" if is_wav else "*.stem.mp4 files"
        raise InputError(
            f"{root}: no songs in {' or '.join(folders)}; expected {expected}"
            + ("" if is_wav else " (for folders with wav files, choose data=musdb18hq)")
        )
    return tracks
