"""A decoded track, read from memory-mapped arrays."""

import hashlib
import resource
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from stemsplit.data.tracks import Subset
from stemsplit.errors import InputError

MOST_MAPS = 4096  # songs that are mapped at a time, where the system allows as many open files


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
    # When its samples were written, in ns: after damage they are decoded, and mapped, anew.
    written: int = field(default=0, compare=False)

    @property
    def key(self) -> str:
        return self.folder.name

    @property
    def samples(self) -> np.ndarray:
        return _maps()(self.folder / "samples.npy", self.written)

    @property
    def levels(self) -> Float32[np.ndarray, "stem block"]:
        """The silence map: mean squares of the stems' blocks."""
        return np.load(self.folder / "levels.npy", allow_pickle=False)

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


@cache
def _maps() -> Callable[[Path, int], np.ndarray]:
    """Map a file of samples; of many, the least used are closed.

    Every map holds a file open, and a process may open so many (often 1,024).
    """
    return lru_cache(maxsize=min(MOST_MAPS, open_files() // 2))(_map)


def _map(path: Path, written: int) -> np.ndarray:
    samples: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return samples


def open_files() -> int:
    """How many files this process may open, after raising that as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * MOST_MAPS if hard == resource.RLIM_INFINITY else min(hard, 4 * MOST_MAPS)
    if soft == resource.RLIM_INFINITY:
        return wanted
    if soft < wanted:
        with suppress(OSError, ValueError):  # macOS has a second limit, which it does not tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return wanted
    return soft


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
