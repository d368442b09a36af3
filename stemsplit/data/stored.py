"""A decoded track, read where it lies."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from stemsplit.data.tracks import Subset
from stemsplit.errors import InputError


@dataclass(frozen=True)
class StoredTrack:
    """A decoded track; pickled, it is its path, so worker processes map the same memory."""

    name: str
    subset: Subset
    stems: tuple[str, ...]
    folder: Path
    sample_rate: int
    scale: float
    weight: float = 1.0  # of its training excerpts, beside those of the other tracks
    corpus: int = 0  # of those that are combined, the number

    @property
    def key(self) -> str:
        return self.folder.name

    @cached_property
    def samples(self) -> np.ndarray:
        return np.load(self.folder / "samples.npy", mmap_mode="r", allow_pickle=False)

    @property
    def levels(self) -> Float32[np.ndarray, "stem block"]:
        """The silence map: mean squares of the stems' blocks."""
        return np.load(self.folder / "levels.npy", allow_pickle=False)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "samples"}

    @property
    def time(self) -> int:
        """The length in samples."""
        return int(self.samples.shape[-1])

    @property
    def unit(self) -> float:
        """What a stored 1 stands for."""
        return self.scale / 32768 if self.samples.dtype == np.int16 else 1.0

    def mixture(self) -> Float32[np.ndarray, "channel time"]:
        if len(self.samples) > len(self.stems):
            return self._scaled(self.samples[0])
        return np.sum([self.read(stem) for stem in self.stems], axis=0)

    def read(
        self, stem: str, start: int = 0, time: int | None = None
    ) -> Float32[np.ndarray, "channel time"]:
        """`time` samples of a stem from `start` on; silence after the track's end."""
        time = self.time if time is None else time
        samples = self._scaled(self.stored(stem, start, time))
        return np.pad(samples, ((0, 0), (0, time - samples.shape[1])))

    def stored(self, stem: str, start: int, time: int) -> np.ndarray:
        """The same as it lies in the store, in its `unit`; no further than the track's end."""
        row = len(self.samples) - len(self.stems) + self.stems.index(stem)
        return self.samples[row, :, start : start + time]

    def _scaled(self, stored: np.ndarray) -> Float32[np.ndarray, "channel time"]:
        return stored.astype(np.float32) * np.float32(self.unit)


def check_split(tracks: Sequence[StoredTrack]) -> None:
    """Whatever asked for it: no song of the test split is trained or validated on."""
    for track in tracks:
        if track.subset == "test":
            raise InputError(f"{track.name}: a test song, which is only ever scored")


def corpus_fingerprint(tracks: Sequence[StoredTrack]) -> str:
    """Names what a set of tracks holds, whatever their order."""
    return digest_of("\n".join(sorted(track.key for track in tracks)).encode())


def digest_of(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
