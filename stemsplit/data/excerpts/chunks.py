"""Datasets of excerpts: random excerpts for training, fixed excerpts for validation."""

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
Place = tuple[StoredTrack, int]  # the track of an excerpt and the excerpt's first sample


class Chunk(NamedTuple):
    """A batch of excerpts: `stems (batch, stem, channel, time)` in the dtype of the store.

    `keys` holds two numbers for each excerpt. In training, they are the epoch and the position in
    the epoch. In validation, they are the number of the song and the first sample.

    The stored numbers are int16, or float32 if any song of the batch is stored as float32. A sample
    is the stored number times `units (batch, stem)`. The device converts the samples to float32, so
    int16 halves the bytes that are sent to the device.
    """

    stems: Tensor
    units: Float[Tensor, "batch stem"]
    keys: list[Key]

    def waveforms(self) -> Stems:
        """The stems as float32 in ±1; a lossy stream may exceed ±1."""
        # Two steps (convert, then multiply in place) are faster in torch than one.
        return self.stems.to(torch.float32, copy=True).mul_(self.units[:, :, None, None])


def as_it_is(chunk: Chunk) -> Chunk:
    """A `collate_fn` that returns its argument, because the datasets return whole batches."""
    return chunk


def read_chunk(
    excerpts: Sequence[Sequence[Place]], stems: Sequence[str], time: int, keys: list[Key]
) -> Chunk:
    """Read a batch of excerpts of `time` samples, padded with silence after the end of a song.

    `excerpts` holds one place for each of the `stems` of every excerpt.
    """
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
            # Int16 samples copied to a float32 batch keep their integer values and their unit.
            units[row, column] = track.unit
    return Chunk(batch, units, keys)


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """An uninitialised tensor. In a worker process it lies in shared memory, which saves a copy."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=dtype)
    # torch has no public function that allocates shared memory. (Tensor.share_memory_ copies the
    # data, which takes 15 to 60 ms more for a batch of 70 MB.)
    storage = torch.UntypedStorage._new_shared(math.prod(shape) * dtype.itemsize)  # noqa: SLF001
    return torch.empty(0, dtype=dtype).set_(storage).view(shape)


class RandomChunks(Dataset[Chunk]):
    """Seeded random excerpts of `chunk` samples; shorter songs are padded with silence.

    The excerpt of the key `(epoch, position)` depends only on `(seed, epoch, position)`, not on
    workers, prefetching or resuming.

    The first stem comes from track number `position % len(tracks)`. If the tracks have different
    weights, this track is drawn with probability proportional to its weight instead. With `remix`,
    the track and the start of each further stem are drawn independently; without it, all stems
    come from the same excerpt.

    With probability `sounding`, the excerpt is replaced by an excerpt in which a target is active
    (see `activity`). This target is drawn uniformly from `targets`. The new excerpt is from the
    same song as the old one. With `remix`, only the stem of this target is replaced, by one from
    the same song. If the target is not active in any excerpt of that song, another song is drawn.

    Raises `InputError` for test songs. With `sounding` > 0, also raises it for a target that is not
    active in any excerpt of the songs.
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
        """For every track, the blocks at which an excerpt with an active `target` may start.

        See `activity` for the blocks.
        """
        starts = [
            sounding_starts(
                track.levels[track.stems.index(target)], track.time, self.chunk, track.sample_rate
            )
            for track in self.tracks
        ]
        if not any(map(len, starts)):
            raise InputError(
                f"data.sounding {self.sounding}: no training song has an excerpt in which {target} "
                "is active for half of the time; set data.sounding=0 or a smaller chunk_seconds"
            )
        return starts

    def __getitems__(self, keys: list[Key]) -> Chunk:
        return read_chunk([self._places(key) for key in keys], self.stems, self.chunk, list(keys))

    def describe(self, key: Key) -> str:
        """Describe the excerpt of a key in words: the song and time of each stem."""
        places = [
            (f"{track.name} at {start / track.sample_rate:.1f} s", stem)
            for stem, (track, start) in zip(self.stems, self._places(key), strict=True)
        ]
        if not self.remix:
            return places[0][0]
        return ", ".join(f"{stem} of {place}" for place, stem in places)

    def _places(self, key: Key) -> list[Place]:
        """The track and the first sample for every stem of the excerpt."""
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
            # The number 8 makes a separate random stream, which leaves the other draws unchanged.
            # (Augmentations use the numbers 1 to 7.)
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
            shares = shares * [len(track_starts) > 0 for track_starts in starts]
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
    """Fixed excerpts for validation.

    `per_track` excerpts of `chunk` samples are spaced evenly over each song. If `per_track` is
    None, each whole song is one excerpt. Keys are `(number of the track, first sample)`.

    `sampling.SharedBatches` repeats the first batch if the number of batches is not a multiple of
    the number of processes.
    It then gives the index ~i instead of i. The dataset reads excerpt i for this index too, but
    returns no key for the repeated excerpt, so that the validation does not count it twice.

    Raises `InputError` for test songs.
    """

    def __init__(
        self, tracks: Sequence[StoredTrack], stems: Sequence[str], chunk: int, per_track: int | None
    ) -> None:
        check_split(tracks)
        self.tracks = tracks
        self.stems = stems
        self.places: list[tuple[int, int, int]] = []  # (track, first sample, length)
        for index, track in enumerate(tracks):
            if per_track is None:
                self.places.append((index, 0, track.time))
                continue
            last = max(0, track.time - chunk)
            for start in np.linspace(0, last, per_track + 2)[1:-1].astype(int):
                self.places.append((index, int(start), chunk))

    def __len__(self) -> int:
        return len(self.places)

    def __getitems__(self, indices: list[int]) -> Chunk:
        batch = [self.places[index if index >= 0 else ~index] for index in indices]
        excerpts = [[(self.tracks[track], start)] * len(self.stems) for track, start, _ in batch]
        keys = [
            (track, start)
            for index, (track, start, _) in zip(indices, batch, strict=True)
            if index >= 0
        ]
        return read_chunk(excerpts, self.stems, batch[0][2], keys)
