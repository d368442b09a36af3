"""A corpus: list, split, check and decode its songs."""

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
    listed,
    of_subset,
    song_of,
    with_stems,
    with_validation,
)
from stemsplit.errors import InputError


class Corpus:
    """The songs of a folder, and the training songs of supplementary corpora.

    Songs are listed at the first access and decoded when they are first read.

    Args:
        lister: function from the corpus's folder to its tracks (see `stemsplit.data.corpora`).
        root: folder of the corpus.
        stems: stems to read, in the order of an excerpt's array; None for all stems of the songs.
        sample_rate: sample rate of the decoded songs in Hz.
        channels: channels of the decoded songs.
        cache: folder of the decoded songs.
        validation_tracks: names of the training songs used for validation; None for the
            validation songs that the corpus defines.
        also: supplementary corpora; their training songs are added.

    Raises `InputError` if `root` is None. The attribute `songs` raises it if a song lacks a stem,
    if `validation_tracks` names an unknown song, or if two subsets contain the same song.
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
        if not isinstance(root, str):
            raise InputError("data.root is not set; set data.root=/path/to/the/corpus")
        self.lister = lister
        self.root = Path(os.path.realpath(os.path.expanduser(root)))
        self.declared_stems = None if stems is None else list(map(normal, stems))
        self.validation_tracks = validation_tracks
        self.also = list(also)
        self.cache = Path(os.path.expanduser(cache))
        self.store = Store(self.cache, sample_rate, channels)

    @property
    def sample_rate(self) -> int:
        return self.store.sample_rate

    @property
    def channels(self) -> int:
        return self.store.channels

    @cached_property
    def stems(self) -> list[str]:
        """The names of the stems, in the order of the stem axis of an excerpt.

        If the setting `stems` is None, these are the stems with audio in the training and
        validation songs of the main corpus.
        """
        if self.declared_stems is not None:
            return self.declared_stems
        main = [track for track in self._listed if not track.corpus]
        # A stem that only test songs have is not part of training. If all songs are test songs,
        # their stems are returned.
        return all_stems([track for track in main if track.subset != "test"] or main)

    @cached_property
    def songs(self) -> list[Track]:
        """The songs of all subsets, with the audio files of their stems. Nothing is decoded.

        If the setting `stems` is None, test songs also have the stems that only test songs have.
        """
        self._check_subsets_differ()
        training = [track for track in self._listed if track.subset != "test"]
        test = [track for track in self._listed if track.subset == "test"]
        test_stems = self.stems
        if self.declared_stems is None:
            test_stems = sorted({*self.stems, *all_stems(test)})
        return with_stems(training, self.stems) + with_stems(test, test_stems)

    @cached_property
    def _listed(self) -> list[Track]:
        tracks = self.listed()
        if self.validation_tracks is not None:
            tracks = with_validation(tracks, self.validation_tracks)
        return [*tracks, *added(tracks, self.also)]

    def _check_subsets_differ(self) -> None:
        """Raise `InputError` if songs of two subsets have the same content.

        File names are not compared.
        """
        for track, copy in self.store.repeated(self._listed):
            if track.subset != copy.subset:
                raise InputError(
                    f"{copy.path}: is the same as {track.path} in the subset {track.subset}; "
                    "remove one of them (stemsplit doctor also finds songs with similar audio)"
                )

    def listed(self) -> list[Track]:
        """The tracks that the lister finds. They are not checked further, unlike `songs`."""
        return listed(self.lister, self.root, "data.lister")

    def check_targets(self, targets: Sequence[str]) -> None:
        """Raise `InputError` if a target is not a stem.

        If the setting `stems` is None, also raise it if there are no stems besides the targets.
        """
        check_targets(targets, self.stems)
        if self.declared_stems is None:
            check_rest(self.stems, targets, self.root)

    def tracks(self, *subsets: Subset) -> list[StoredTrack]:
        """Open the songs of these subsets, and decode them first if they are not in the cache.

        Raises `InputError` if a subset has no songs.
        """
        tracks = [track for subset in subsets for track in of_subset(self.songs, subset, self.root)]
        return self.store.tracks(tracks)

    def contents(self, *subsets: Subset) -> dict[str, str]:
        """Map the name of each song of these subsets (see `song_of`) to its content hash.

        Without arguments, these are the training and validation songs.
        """
        return {
            song_of(track): self.store.content(track)
            for track in self.songs
            if track.subset in (subsets or ("train", "valid"))
        }
