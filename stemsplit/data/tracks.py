"""The songs of a corpus, and the files that hold the audio of each stem.

A new corpus is one more lister in `corpora/`: a function from its root folder to `Track`s.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from stemsplit.audio.entries import (
    misnamed,
    normal,
    unreadable,
)
from stemsplit.errors import InputError

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


def song_of(track: Track) -> str:
    """The name of a song within its corpus: ``SUBSET/NAME``."""
    return f"{track.subset}/{track.name}"


def check_folder(root: Path) -> None:
    if not os.path.lexists(root):
        raise InputError(f"{root}: there is no such folder; data.root must name the corpus")
    if (reason := unreadable(root)) is not None:
        raise InputError(reason)
    if not root.is_dir():
        raise InputError(f"{root}: is no folder; data.root must name the corpus's")


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


def check_rest(stems: Sequence[str], targets: Sequence[str], root: Path) -> None:
    """Raise `InputError` if the corpus has no stems besides the targets."""
    if set(stems) <= set(targets):
        raise InputError(
            f"{root}: has no stems beside the targets {list(stems)}; add files of what else is in "
            f"the mixture or, where that is all, say stems=[{','.join(stems)}]"
        )


def all_stems(tracks: Sequence[Track]) -> list[str]:
    """Every stem that any of the tracks has audio of."""
    return sorted({stem for track in tracks for stem, source in track.stems.items() if source})
