"""Excerpts of stems: random ones to train on, fixed ones to validate on, and their order."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from stemsplit.data.store import StoredTrack
from stemsplit.errors import InputError

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
    Where the weights of the tracks differ, every track is drawn by its weight instead.
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
        weights = np.array([track.weight for track in tracks])
        self.shares = None if (weights == weights[0]).all() else weights / weights.sum()

    def __getitem__(self, key: Key) -> Chunk:
        places = zip(self.stems, self._places(key), strict=True)
        excerpts = [track.read(stem, start, self.chunk) for stem, (track, start) in places]
        return Chunk(torch.from_numpy(np.stack(excerpts)), [key])

    def describe(self, key: Key) -> str:
        """Which songs the chunk of a key is made of, and where in them, for a person to read."""
        places = [
            (f"{track.name} at {start / track.sample_rate:.1f} s", stem)
            for stem, (track, start) in zip(self.stems, self._places(key), strict=True)
        ]
        if not self.remix:
            return places[0][0]
        return ", ".join(f"{stem} of {place}" for place, stem in places)

    def _places(self, key: Key) -> list[tuple[StoredTrack, int]]:
        """The track and the first sample of every stem."""
        epoch, position = key
        random = np.random.default_rng([self.seed, epoch, position])
        balanced = self.shares is None
        track = self.tracks[position % len(self.tracks)] if balanced else self._draw(random)
        places = [(track, self._start(track, random))]
        for _ in self.stems[1:]:
            if self.remix:
                track = self._draw(random)
                places.append((track, self._start(track, random)))
            else:
                places.append(places[0])
        return places

    def _draw(self, random: np.random.Generator) -> StoredTrack:
        songs = len(self.tracks)
        if self.shares is None:
            return self.tracks[int(random.integers(songs))]
        return self.tracks[int(random.choice(songs, p=self.shares))]

    def _start(self, track: StoredTrack, random: np.random.Generator) -> int:
        return int(random.integers(max(1, track.time - self.chunk + 1)))


class EpochSampler(Sampler[Key]):
    """The keys of an epoch, `(epoch, position)`, in an order that its seed and epoch fix.

    Each of `ranks` processes draws keys of its own, equally many. After `start_at` the epoch's
    first keys, which were drawn before, are left out.
    """

    def __init__(self, positions: int, seed: int, rank: int = 0, ranks: int = 1) -> None:
        self.positions = positions
        self.seed = seed
        self.rank = rank
        self.ranks = ranks
        self.epoch = 0
        self.first = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch, and in the middle of one that is resumed."""
        if epoch != self.epoch:
            self.start_at(epoch, 0)

    def start_at(self, epoch: int, first: int) -> None:
        self.epoch = epoch
        self.first = first

    def __len__(self) -> int:
        return self.positions // self.ranks

    def __iter__(self) -> Iterator[Key]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.positions)
        mine = order[self.rank :: self.ranks][: len(self)]
        return iter([(self.epoch, int(position)) for position in mine[self.first :]])


class ResumableLoader(DataLoader[Chunk]):
    """Batches of an `EpochSampler`'s keys, which go on where a checkpoint was written.

    It counts the batches that were taken from it, not those its workers have made ahead.
    """

    def __init__(self, chunks: Dataset[Chunk], sampler: EpochSampler, **how: Any) -> None:
        super().__init__(chunks, sampler=sampler, **how)
        self.epochs = sampler
        self.taken = 0

    def __iter__(self) -> Iterator[Chunk]:  # type: ignore[override]
        assert self.batch_size is not None
        # A generator, so nothing is drawn before the epoch is known.
        self.taken = self.epochs.first // self.batch_size
        for batch in super().__iter__():
            self.taken += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epochs.epoch, "batches": self.taken, "of": len(self)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        assert self.batch_size is not None
        epoch, taken = state["epoch"], state["batches"]
        if taken >= state["of"]:
            epoch, taken = epoch + 1, 0
        elif state["of"] != len(self):
            raise InputError(
                f"the checkpoint lies within an epoch of {state['of']} batches, which has "
                f"{len(self)} now: resume with as many processes as before"
            )
        self.epochs.start_at(epoch, taken * self.batch_size)


class FixedChunks(Dataset[Chunk]):
    """The same excerpts at every validation.

    `per_track` excerpts of `chunk` samples lie evenly over each song; with None, each song is one
    excerpt from end to end. Keys are `(track, first sample)`. A place that is given as ~place comes
    without its key: see `SharedBatches`.
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
        if place < 0:
            return Chunk(self[~place].stems, [])
        index, start, time = self.places[place]
        excerpts = [self.tracks[index].read(stem, start, time) for stem in self.stems]
        return Chunk(torch.from_numpy(np.stack(excerpts)), [(index, start)])


class SharedBatches(Sampler[list[int]]):
    """Batches of the numbers below `count`, dealt out to `ranks` processes, equally many to each.

    A process that has none left repeats one as ~number, which is to count nothing.
    """

    def __init__(self, count: int, batch_size: int, rank: int = 0, ranks: int = 1) -> None:
        batches = [
            list(range(start, min(start + batch_size, count)))
            for start in range(0, count, batch_size)
        ]
        repeated = [~number for number in batches[0]]
        batches += [repeated] * (-len(batches) % ranks)
        self.batches = batches[rank::ranks]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)
