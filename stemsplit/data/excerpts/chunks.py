"""Excerpts of stems: random ones for training, fixed ones for validation."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from stemsplit.data.store.activity import draw_start, sounding_starts
from stemsplit.data.store.stored import StoredTrack, check_split
from stemsplit.errors import InputError
from stemsplit.models.shapes import Stems

Key = tuple[int, int]
Place = tuple[StoredTrack, int]  # an excerpt's track and its first sample there


class Chunk(NamedTuple):
    """A batch of excerpts: `stems (batch, stem, channel, time)` as they lie in the store.

    That is 16-bit integers or floats, of which a 1 stands for the stem's `units (batch, stem)`: so
    half the bytes travel to the device, and what is done to every sample is done there.
    """

    stems: Tensor
    units: Float[Tensor, "batch stem"]
    keys: list[Key]

    def waveforms(self) -> Stems:
        """The stems as float32 in ±1 (a lossy stream may overshoot)."""
        # Two steps: torch takes longer over one that changes the type on the way.
        return self.stems.to(torch.float32, copy=True).mul_(self.units[:, :, None, None])


def as_it_is(chunk: Chunk) -> Chunk:
    """What loaders call for a batch, which these datasets make whole."""
    return chunk


def read_chunk(
    excerpts: Sequence[Sequence[Place]], stems: Sequence[str], time: int, keys: list[Key]
) -> Chunk:
    """Of every excerpt the places of its stems; silence after a song's end."""
    tracks = [track for places in excerpts for track, _ in places]
    integers = all(track.samples.dtype == np.int16 for track in tracks)
    channels = tracks[0].samples.shape[1]
    batch = empty(
        (len(excerpts), len(stems), channels, time), torch.int16 if integers else torch.float32
    )
    rows = batch.numpy()
    units = torch.empty(len(excerpts), len(stems))
    for row, places in enumerate(excerpts):
        for column, (stem, (track, start)) in enumerate(zip(stems, places, strict=True)):
            stored = track.stored(stem, start, time)
            rows[row, column, :, : stored.shape[1]] = stored
            rows[row, column, :, stored.shape[1] :] = 0
            # Of integers that lie among floats too, the unit says what they stand for.
            units[row, column] = track.unit
    return Chunk(batch, units, keys)


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """In a worker process in memory that it shares with its parent: a batch is not copied there."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=dtype)
    # torch allocates shared memory by no public name. (Tensor.share_memory_ copies what it shares:
    # 15 to 60 ms more for a batch of 70 MB.)
    storage = torch.UntypedStorage._new_shared(math.prod(shape) * dtype.itemsize)  # noqa: SLF001
    return torch.empty(0, dtype=dtype).set_(storage).view(shape)


class RandomChunks(Dataset[Chunk]):
    """Seeded random excerpts of `chunk` samples; a song that is shorter ends in silence.

    The excerpt of a key `(epoch, position)` is a function of `(seed, epoch, position)` alone, so
    neither workers nor prefetching nor resuming changes what is drawn. Position p belongs to track
    p modulo the number of tracks. With `remix` the first stem is that track's and every other one
    comes from a track of its own, at a place of its own; without, all stems are of one excerpt.
    Where the weights of the tracks differ, every track is drawn by its weight instead.

    With the probability `sounding` the place is drawn so that one of the `targets`, each as often
    as the others, sounds in the excerpt (see `activity`): in the same song where it does, else in
    another in which it does. With `remix` that is the place of this target alone.
    """

    def __init__(
        self,
        tracks: Sequence[StoredTrack],
        stems: Sequence[str],
        chunk: int,
        seed: int,
        remix: bool,
        targets: Sequence[str] = (),
        sounding: float = 0.0,
    ) -> None:
        check_split(tracks)
        self.tracks = tracks
        self.stems = stems
        self.chunk = chunk
        self.seed = seed
        self.remix = remix
        self.targets = list(targets) if sounding else []
        self.sounding = sounding
        weights = np.array([track.weight for track in tracks])
        self.shares = None if (weights == weights[0]).all() else weights / weights.sum()
        self._starts = {target: self._sounding_starts(target) for target in self.targets}

    def _sounding_starts(self, target: str) -> list[np.ndarray]:
        """Of every track, where an excerpt may begin so that the target sounds in it."""
        starts = [
            sounding_starts(
                track.levels[track.stems.index(target)], track.time, self.chunk, track.sample_rate
            )
            for track in self.tracks
        ]
        if not any(map(len, starts)):
            raise InputError(
                f"data.sounding {self.sounding}: {target} sounds in no training song for half an "
                "excerpt; say data.sounding=0, or shorten chunk_seconds"
            )
        return starts

    def __getitems__(self, keys: list[Key]) -> Chunk:
        return read_chunk([self._places(key) for key in keys], self.stems, self.chunk, list(keys))

    def describe(self, key: Key) -> str:
        """Which songs the chunk of a key is made of, and where in them, for a person to read."""
        places = [
            (f"{track.name} at {start / track.sample_rate:.1f} s", stem)
            for stem, (track, start) in zip(self.stems, self._places(key), strict=True)
        ]
        if not self.remix:
            return places[0][0]
        return ", ".join(f"{stem} of {place}" for place, stem in places)

    def _places(self, key: Key) -> list[Place]:
        """The track and the first sample of every stem."""
        epoch, position = key
        random = np.random.default_rng([self.seed, epoch, position])
        balanced = self.shares is None
        number = position % len(self.tracks) if balanced else self._draw(random)
        numbers = [number]
        places = [self._place(number, random)]
        for _ in self.stems[1:]:
            if self.remix:
                numbers.append(self._draw(random))
                places.append(self._place(numbers[-1], random))
            else:
                numbers.append(number)
                places.append(places[0])
        if self.sounding:
            # A stream of its own, as augmentations have (1 to 7): the other draws stay as they are.
            random = np.random.default_rng([self.seed, epoch, position, 8])
            if random.random() < self.sounding:
                target = self.targets[int(random.integers(len(self.targets)))]
                column = self.stems.index(target)
                place = self._sounding_place(target, numbers[column], random)
                if self.remix:
                    places[column] = place
                else:
                    places = [place] * len(self.stems)
        return places

    def _sounding_place(self, target: str, number: int, random: np.random.Generator) -> Place:
        starts = self._starts[target]
        if not len(starts[number]):
            shares = np.ones(len(self.tracks)) if self.shares is None else self.shares
            shares = shares * [len(found) > 0 for found in starts]
            number = int(random.choice(len(self.tracks), p=shares / shares.sum()))
        track = self.tracks[number]
        start = draw_start(starts[number], track.time, self.chunk, track.sample_rate, random)
        return track, start

    def _draw(self, random: np.random.Generator) -> int:
        songs = len(self.tracks)
        if self.shares is None:
            return int(random.integers(songs))
        return int(random.choice(songs, p=self.shares))

    def _place(self, number: int, random: np.random.Generator) -> Place:
        track = self.tracks[number]
        return track, int(random.integers(max(1, track.time - self.chunk + 1)))


class FixedChunks(Dataset[Chunk]):
    """The same excerpts at every validation.

    `per_track` excerpts of `chunk` samples lie evenly over each song; with None, each song is one
    excerpt from end to end. Keys are `(track, first sample)`. A place that is given as ~place comes
    without its key: see `sampling.SharedBatches`.
    """

    def __init__(
        self, tracks: Sequence[StoredTrack], stems: Sequence[str], chunk: int, per_track: int | None
    ) -> None:
        check_split(tracks)
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

    def __getitems__(self, places: list[int]) -> Chunk:
        found = [self.places[place if place >= 0 else ~place] for place in places]
        excerpts = [[(self.tracks[index], start)] * len(self.stems) for index, start, _ in found]
        keys = [
            (index, start)
            for place, (index, start, _) in zip(places, found, strict=True)
            if place >= 0
        ]
        return read_chunk(excerpts, self.stems, found[0][2], keys)
