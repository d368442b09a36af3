"""A corpus: lists, splits, checks and decodes its songs."""

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from stemsplit.audio.entries import normal
from stemsplit.data.store.store import Store
from stemsplit.data.store.stored import StoredTrack
from stemsplit.data.supplements import Supplement, added
from stemsplit.data.tracks import (
    Subset,
    Track,
    all_stems,
    check_rest,
    check_targets,
    of_subset,
    song_of,
    with_stems,
    with_validation,
)
from stemsplit.errors import InputError


class Corpus:
    """The songs of a folder, and the training songs of supplementary corpora.

    Songs are listed when they are first needed, and decoded when they are first read.

    Args:
        lister: function from the corpus's folder to its tracks (see `stemsplit.data.corpora`).
        root: folder of the corpus.
        stems: stems of the songs, in the order of an excerpt's array; None for all stems that the
            songs have.
        sample_rate: sample rate of the decoded songs in Hz.
        channels: channels of the decoded songs.
        cache: folder of the decoded songs.
        validation_tracks: names of the training songs used for validation; None for the corpus's
            own choice.
        also: corpora whose training songs are added.

    Raises `InputError` without a root. Listing raises it for a missing subset, stem or song, and
    for a song that is in two subsets.
    """

    def __init__(
        self,
        lister: Callable[[Path], list[Track]],
        root: str | None,
        stems: Sequence[str] | None,
        sample_rate: int,
        channels: int,
        cache: str,
        validation_tracks: Sequence[str] | None = None,
        also: Sequence[Supplement] = (),
    ) -> None:
        if root is None:
            raise InputError("data.root is not set: say data.root=/path/to/the/corpus")
        self.lister = lister
        self.root = Path(os.path.realpath(Path(root).expanduser()))
        self.declared_stems = None if stems is None else list(map(normal, stems))
        self.validation_tracks = validation_tracks
        self.also = list(also)
        self.cache = Path(cache).expanduser()
        self.store = Store(self.cache, sample_rate, channels)

    @property
    def sample_rate(self) -> int:
        return self.store.sample_rate

    @property
    def channels(self) -> int:
        return self.store.channels

    @cached_property
    def stems(self) -> list[str]:
        """The stems of the songs, in the order of an excerpt's array."""
        if self.declared_stems is not None:
            return self.declared_stems
        own = [track for track in self._listed if not track.corpus]
        # A stem that only test songs have is not part of training.
        return all_stems([track for track in own if track.subset != "test"] or own)

    @cached_property
    def songs(self) -> list[Track]:
        """The songs of all subsets, with their `stems`; not decoded."""
        self._refuse_shared()
        trained = [track for track in self._listed if track.subset != "test"]
        tested = [track for track in self._listed if track.subset == "test"]
        of_tested = self.stems
        if self.declared_stems is None:
            of_tested = sorted({*self.stems, *all_stems(tested)})
        return with_stems(trained, self.stems) + with_stems(tested, of_tested)

    @cached_property
    def _listed(self) -> list[Track]:
        tracks = self.lister(self.root)
        if self.validation_tracks is not None:
            tracks = with_validation(tracks, self.validation_tracks)
        return [*tracks, *added(tracks, self.also)]

    def _refuse_shared(self) -> None:
        """Raise `InputError` if two subsets have a song in common, under whatever name."""
        for track, copy in self.store.repeated(self._listed):
            if track.subset != copy.subset:
                raise InputError(
                    f"{copy.path}: is the same as {track.path}, a {track.subset} song; remove one "
                    "of them (python -m stemsplit.doctor also finds songs that only sound the same)"
                )

    def check_targets(self, targets: Sequence[str]) -> None:
        """Raise `InputError` for a target that is no stem.

        The same for a mixture without other stems, unless the stems were named.
        """
        check_targets(targets, self.stems)
        if self.declared_stems is None:
            check_rest(self.stems, targets, self.root)

    def tracks(self, *subsets: Subset) -> list[StoredTrack]:
        """The decoded songs of these subsets; raises `InputError` if a subset has none."""
        tracks = [track for subset in subsets for track in of_subset(self.songs, subset, self.root)]
        return self.store.tracks(tracks)

    def contents(self) -> dict[str, str]:
        """The content hash of every song for training and validation, by ``SUBSET/NAME``."""
        return {
            song_of(track) + (f" (data.also {track.corpus})" if track.corpus else ""): (
                self.store.content(track)
            )
            for track in self.songs
            if track.subset != "test"
        }
