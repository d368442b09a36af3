"""Training songs of several corpora in one run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stemsplit.data.tracks import Track, of_subset
from stemsplit.errors import InputError


@dataclass(frozen=True)
class Corpus:
    """A corpus to train on beside the first, its training excerpts `weight` for one of those."""

    lister: Callable[[Path], list[Track]]
    root: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.weight < float("inf"):
            raise InputError(
                f"data.also: weight {self.weight} of {self.root} must be positive; "
                "to leave the corpus out, remove its entry"
            )

    def training_tracks(self) -> list[Track]:
        root = Path(self.root).expanduser().resolve()
        return of_subset(self.lister(root), "train", root)


def combined(tracks: Sequence[Track], others: Sequence[Corpus]) -> list[Track]:
    """The tracks of the first corpus, and the training tracks, no others, of the other ones.

    However many songs a corpus has, its share of the excerpts is as its weight (the first's is 1).
    """
    first = sum(track.subset == "train" for track in tracks)
    if others and not first:
        raise InputError("data.also adds to the training songs of data.root, which has none")
    held_out = {track.name: track.subset for track in tracks if track.subset != "train"}
    added = []
    for number, corpus in enumerate(others, 1):
        songs = corpus.training_tracks()
        for track in songs:
            if track.name in held_out:
                raise InputError(
                    f"{track.path}: {track.name!r} is a {held_out[track.name]} song of data.root, "
                    "so it must not be trained on; take it out of the corpus that data.also adds"
                )
        weight = corpus.weight * first / len(songs)
        added += [replace(track, weight=weight, corpus=number) for track in songs]
    return [*tracks, *added]
