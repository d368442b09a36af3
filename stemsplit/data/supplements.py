"""Add the training songs of other corpora to those of a corpus."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stemsplit.data.tracks import Track, of_subset
from stemsplit.errors import InputError


@dataclass(frozen=True)
class Supplement:
    """Training songs of another corpus: an entry of the setting ``data.also``.

    Attributes:
        lister: function from the corpus's folder to its tracks.
        root: folder of the corpus.
        weight: training excerpts drawn from it for each excerpt of the main corpus.
    """

    lister: Callable[[Path], list[Track]]
    root: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.weight < float("inf"):
            raise InputError(
                f"data.also: weight {self.weight} of {self.root} must be positive; "
                "to leave the corpus out, remove its entry"
            )

    @property
    def folder(self) -> Path:
        return Path(self.root).expanduser().resolve()

    def training_tracks(self) -> list[Track]:
        return of_subset(self.lister(self.folder), "train", self.folder)


def added(tracks: Sequence[Track], supplements: Sequence[Supplement]) -> list[Track]:
    """The training tracks of the supplements, numbered from 1 and weighted.

    The number of songs in a corpus does not change its share of the excerpts. Raises `InputError`
    for a song that the main corpus, `tracks`, holds out for validation or test.
    """
    training = sum(track.subset == "train" for track in tracks)
    if supplements and not training:
        raise InputError("data.also adds to the training songs of data.root, which has none")
    held_out = {track.name: track.subset for track in tracks if track.subset != "train"}
    added: list[Track] = []
    for number, supplement in enumerate(supplements, 1):
        songs = supplement.training_tracks()
        for track in songs:
            if track.name in held_out:
                raise InputError(
                    f"{track.path}: {track.name!r} is a {held_out[track.name]} song of data.root, "
                    "so it must not be trained on; take it out of the corpus that data.also adds"
                )
        weight = supplement.weight * training / len(songs)
        added += [replace(track, weight=weight, corpus=number) for track in songs]
    return added
