"""What a corpus holds: its songs, and where the audio of each stem lies.

A new corpus is one more lister: a function from its root folder to `Track`s. Here are MUSDB18's and
those of its layout; others have modules of their own (`mir1k`, `folders`).
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Literal
from zipfile import BadZipFile

from rich.progress import Progress

from stemsplit.data.entries import (
    check_links,
    misnamed,
    normal,
    subset_folders,
    unreadable,
    visible,
)
from stemsplit.errors import InputError
from stemsplit.files import one_at_a_time

Subset = Literal["train", "valid", "test"]


@dataclass(frozen=True)
class AudioSource:
    """One audio stream of a file, or with `channel` (0 is the left one) that channel of it."""

    path: Path
    stream: int = 0
    channel: int | None = None


@dataclass(frozen=True)
class Track:
    """A song; its mixture lies beside its stems, since mixtures are coded by themselves.

    Without a mixture (None), that is the sum of the stems; a stem that is None is silence. Training
    excerpts are drawn from a track as often as its weight says, beside those of the others. Where
    corpora are combined, `corpus` numbers them.
    """

    name: str
    subset: Subset
    mixture: AudioSource | None
    stems: dict[str, AudioSource | None]
    weight: float = 1.0
    corpus: int = 0

    @property
    def path(self) -> Path:
        """The first of its files, for messages."""
        sources = (self.mixture, *self.stems.values())
        return next(source.path for source in sources if source is not None)


def musdb18(root: Path) -> list[Track]:
    """MUSDB18: ``train/`` and ``test/`` of ``*.stem.mp4``, its 14 validation songs by name."""
    return _musdb(root, is_wav=False)


def musdb18hq(root: Path) -> list[Track]:
    """MUSDB18-HQ: ``train/`` and ``test/``, a folder a song with ``mixture.wav`` and stems."""
    return _musdb(root, is_wav=True)


def musdb7(root: Path) -> list[Track]:
    """The first 7 s of every song of MUSDB18, which musdb downloads where `root` holds nothing."""
    if not root.is_dir() or not any(root.iterdir()):
        with one_at_a_time(root.parent, "downloads the previews of MUSDB18"):
            if not root.is_dir() or not any(root.iterdir()):
                _download_previews(root)
    return musdb18(root)


def _download_previews(root: Path) -> None:
    # Unpacked beside it: a download that is killed leaves nothing that looks whole.
    partial = root.with_name(f".{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _import_musdb().DB(root=str(partial), download=True, subsets=[])
        if root.is_dir():
            root.rmdir()
        partial.rename(root)
    except (OSError, RuntimeError, BadZipFile) as error:
        raise InputError(
            f"{root}: the 7 s previews of MUSDB18 cannot be downloaded ({error}); where there "
            f'is a network, run python -c \'import musdb; musdb.DB(root="musdb7", '
            "download=True)', copy that folder here, and say data.root=/path/to/musdb7"
        ) from None


def demo(root: Path) -> list[Track]:
    """The synthesised songs that stemsplit brings along, written at the first use."""
    # Late: what plays them takes longer to import than all else that decodes songs.
    from stemsplit.data.demo_songs import VALIDATION_TRACKS, write_demo_corpus

    with Progress() as progress:
        bar = progress.add_task("writing the demo songs", visible=False)

        def report(done: int, songs: int) -> None:
            progress.update(bar, completed=done, total=songs)
            if done < songs:
                progress.update(bar, visible=True)

        write_demo_corpus(root, report=report)
    return with_validation(musdb18(root), VALIDATION_TRACKS)


def check_folder(root: Path) -> None:
    if not os.path.lexists(root):
        raise InputError(f"{root}: there is no such folder; data.root must name the corpus")
    if (reason := unreadable(root)) is not None:
        raise InputError(reason)
    if not root.is_dir():
        raise InputError(f"{root}: is no folder; data.root must name the corpus's")


def _import_musdb() -> ModuleType:
    try:
        import musdb
    except RuntimeError as error:  # stempeg, which musdb imports, asks for the program
        raise InputError(f"musdb needs the program ffmpeg: run `make setup` ({error})") from None
    return musdb


def _musdb(root: Path, is_wav: bool) -> list[Track]:
    check_folder(root)
    subsets: tuple[Subset, ...] = ("train", "test")
    folders = subset_folders(root, subsets)
    if not folders:
        raise InputError(
            f"{root}: has neither a train nor a test folder; "
            "data.root must name the folder that holds them"
        )
    # Of musdb: which stream or file is which stem, and who validates. It would list the songs too,
    # but asks ffprobe about each, and stops at the first damaged one without naming it.
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
            if (other := seen.setdefault(name, mixture)) != mixture:
                raise InputError(f"{mixture}: {other} has the same name; rename or remove one")
            subset: Subset = "valid" if folder == "train" and name in official else folder
            tracks.append(Track(name, subset, AudioSource(mixture), stems))
    if not tracks:
        wanted = "folders with mixture.wav" if is_wav else "*.stem.mp4 files"
        raise InputError(
            f"{root}: no songs in {' or '.join(folders)}; {wanted} belong there"
            + ("" if is_wav else " (for wav folders say data=musdb18hq)")
        )
    return tracks


def with_validation(tracks: Sequence[Track], names: Sequence[str]) -> list[Track]:
    """The same tracks, with the named ones, and no other, out of training and in validation."""
    names = [normal(name) for name in names]
    songs = {track.name for track in tracks if track.subset != "test"}
    unknown = sorted(set(names) - songs)
    if unknown:
        raise InputError(
            f"data.validation_tracks names {unknown}, which are not training songs; "
            f"these are: {sorted(songs)}"
        )
    return [
        track
        if track.subset == "test"
        else replace(track, subset="valid" if track.name in names else "train")
        for track in tracks
    ]


def of_subset(tracks: Sequence[Track], subset: Subset, root: Path) -> list[Track]:
    """The tracks of one subset; having none is an error that says what there is."""
    chosen = [track for track in tracks if track.subset == subset]
    if chosen:
        return chosen
    training = sorted(track.name for track in tracks if track.subset == "train")
    ways_out = {
        "train": "training needs songs in train/ that are not all used for validation",
        "valid": "name one or more with data.validation_tracks=[…]; the training songs are "
        f"{training[:20]}",
        "test": "scoring needs songs in test/",
    }
    songs = {"train": "training", "valid": "validation", "test": "test"}[subset]
    raise InputError(f"{root}: no {songs} songs; {ways_out[subset]}")


def with_stems(tracks: Sequence[Track], stems: Sequence[str]) -> list[Track]:
    """The same tracks with these stems only; a track that lacks one is an error."""
    for track in tracks:
        missing = [stem for stem in stems if stem not in track.stems]
        if missing:
            raise InputError(
                f"{track.path}: no stem {missing}; it has {sorted(track.stems)}"
                + "".join(
                    f"; {file.name} is not read: {stem}.wav is expected"
                    for stem in missing
                    for file in misnamed(track.path.parent, f"{stem}.wav")
                )
            )
        if track.mixture is None and all(track.stems[stem] is None for stem in stems):
            raise InputError(
                f"{track.path.parent}: holds none of the stems {list(stems)}, nor a mixture; "
                "name more of its stems, or remove the song"
            )
    return [replace(track, stems={stem: track.stems[stem] for stem in stems}) for track in tracks]


def check_targets(targets: Sequence[str], stems: Sequence[str]) -> None:
    unknown = [target for target in targets if target not in stems]
    if unknown:
        raise InputError(f"targets {unknown} are not among the corpus's stems {list(stems)}")


def found_stems(tracks: Sequence[Track], targets: Sequence[str], root: Path) -> list[str]:
    """All stems of the tracks; having none beside the targets is an error, which is to be meant."""
    found = all_stems(tracks)
    check_targets(targets, found)
    if set(found) <= set(targets):
        raise InputError(
            f"{root}: has no stems beside the targets {found}; add files of what else is in the "
            f"mixture or, where that is all, say stems=[{','.join(found)}]"
        )
    return found


def all_stems(tracks: Sequence[Track]) -> list[str]:
    """Every stem that any of the tracks has audio of."""
    return sorted({stem for track in tracks for stem, source in track.stems.items() if source})
