"""Excerpts of stems: random ones to train on, fixed ones to validate on."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from stemsplit.data.store import StoredTrack

Key = tuple[int, int]


class Chunk(NamedTuple):
    """Stems `(stem, channel, time)`, a batch of them `(batch, stem, channel, time)`, in ±1."""

    stems: Tensor
    keys: list[Key]


def collate(chunks: Sequence[Chunk]) -> Chunk:
    return Chunk(
        torch.stack([chunk.stems for chunk in chunks]),
        [key for chunk in chunks for key in chunk.keys],
    )


class RandomChunks(Dataset[Chunk]):
    """Seeded random excerpts of `chunk` samples; a song that is shorter ends in silence.

    The excerpt of a key `(epoch, position)` is a function of `(seed, epoch, position)` alone, so
    neither workers nor prefetching nor resuming changes what is drawn. Position p belongs to track
    p modulo the number of tracks. With `remix` the first stem is that track's and every other one
    comes from a track of its own, at a place of its own; without, all stems are of one excerpt.
    """

    def __init__(
        self,
        tracks: Sequence[StoredTrack],
        stems: Sequence[str],
        chunk: int,
        seed: int,
        remix: bool,
    ) -> None:
        self.tracks = tracks
        self.stems = stems
        self.chunk = chunk
        self.seed = seed
        self.remix = remix

    def __getitem__(self, key: Key) -> Chunk:
        epoch, position = key
        random = np.random.default_rng([self.seed, epoch, position])
        track = self.tracks[position % len(self.tracks)]
        start = self._start(track, random)
        excerpts = []
        for index, stem in enumerate(self.stems):
            if self.remix and index:
                track = self.tracks[int(random.integers(len(self.tracks)))]
                start = self._start(track, random)
            excerpts.append(track.read(stem, start, self.chunk))
        return Chunk(torch.from_numpy(np.stack(excerpts)), [key])

    def _start(self, track: StoredTrack, random: np.random.Generator) -> int:
        return int(random.integers(max(1, track.time - self.chunk + 1)))


class EpochSampler(Sampler[Key]):
    """The keys of an epoch, `(epoch, position)`, in an order that its seed and epoch fix."""

    def __init__(self, positions: int, seed: int) -> None:
        self.positions = positions
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.positions

    def __iter__(self) -> Iterator[Key]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.positions)
        return iter([(self.epoch, int(position)) for position in order])


class FixedChunks(Dataset[Chunk]):
    """The same excerpts at every validation.

    `per_track` excerpts of `chunk` samples lie evenly over each song; with None, each song is one
    excerpt from end to end. Keys are `(track, first sample)`.
    """

    def __init__(
        self, tracks: Sequence[StoredTrack], stems: Sequence[str], chunk: int, per_track: int | None
    ) -> None:
        self.tracks = tracks
        self.stems = stems
        self.places: list[tuple[int, int, int]] = []
        for index, track in enumerate(tracks):
            if per_track is None:
                self.places.append((index, 0, track.time))
                continue
            last = max(0, track.time - chunk)
            for start in np.linspace(0, last, per_track + 2)[1:-1].astype(int):
                self.places.append((index, int(start), chunk))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, place: int) -> Chunk:
        index, start, time = self.places[place]
        excerpts = [self.tracks[index].read(stem, start, time) for stem in self.stems]
        return Chunk(torch.from_numpy(np.stack(excerpts)), [(index, start)])
