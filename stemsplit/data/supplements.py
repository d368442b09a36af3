"""Add the training songs of supplementary corpora to a corpus."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stemsplit.data.tracks import Track, listed, of_subset
from stemsplit.errors import InputError


@dataclass(frozen=True)
class Supplement:
    """Another corpus, whose training songs are added to the main corpus.

    Each entry of the setting ``data.also`` is a supplement.

    Attributes:
        lister: function from the corpus's folder to its tracks.
        root: folder of the corpus.
        weight: number of training excerpts from this corpus per excerpt of the main corpus.

    Raises `InputError` if the weight is not positive and finite, or if `root` is not a string.
    """

    lister: Callable[[Path], list[Track]]
    root: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.root, str):
            raise InputError(f"data.also: root {self.root} must be the folder of a corpus")
        is_number = isinstance(self.weight, int | float) and not isinstance(self.weight, bool)
        if not is_number or not 0 < self.weight < float("inf"):
            raise InputError(
                f"data.also: weight {self.weight} of {self.root} must be a positive number; "
                "to omit the corpus, remove its entry"
            )

    @property
    def folder(self) -> Path:
        return Path(os.path.expanduser(self.root)).resolve()

    def training_tracks(self) -> list[Track]:
        """The training tracks of the corpus.

        Raises `InputError` if its folder does not exist or has no training tracks.
        """
        if not self.folder.is_dir():
            raise InputError(
                f"data.also: {self.folder} is not a folder; set data.also again with the "
                "current folder of the corpus"
            )
        return of_subset(listed(self.lister, self.folder, "data.also"), "train", self.folder)


def added(tracks: Sequence[Track], supplements: Sequence[Supplement]) -> list[Track]:
    """Return the training tracks of the supplements. `tracks` are all tracks of the main corpus.

    Each returned track has the number of its corpus (1 is the first supplement) and a weight. The
    weights are chosen so that a supplement's share of the excerpts depends on `Supplement.weight`,
    and not on the number of its songs. Raises `InputError` if the main corpus has no training
    songs, or if a returned track has the name of a validation or test song of the main corpus.
    """
    training = sum(track.subset == "train" for track in tracks)
    if supplements and not training:
        raise InputError(
            "data.root has no training songs, but data.also needs them; choose another corpus"
        )
    held_out = {track.name: track.subset for track in tracks if track.subset != "train"}
    added: list[Track] = []
    for number, supplement in enumerate(supplements, 1):
        songs = supplement.training_tracks()
        for track in songs:
            if track.name in held_out:
                raise InputError(
                    f"{track.path}: {track.name!r} is in the subset {held_out[track.name]} of "
                    "data.root and must not be used for training; remove it from the corpus in "
                    "data.also"
                )
        weight = supplement.weight * training / len(songs)
        added += [replace(track, weight=weight, corpus=number) for track in songs]
    return added
