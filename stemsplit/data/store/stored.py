"""A decoded track that is read from memory-mapped arrays."""

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

MOST_MAPS = 4096  # largest number of mapped songs, if the limit on open files allows it


@dataclass(frozen=True)
class StoredTrack:
    """A decoded track. Its pickle has no samples, so worker processes share the mapped memory.

    `samples` has the shape (row, channel, time); its rows are the mixture (unless the mixture is
    the sum of the stems) and the stems. `levels` has the shape (stem, block).
    """

    name: str
    subset: Subset
    stems: tuple[str, ...]
    folder: Path
    sample_rate: int
    scale: float
    weight: float = 1.0  # probability of a training excerpt, relative to the other tracks
    corpus: int = 0  # 0 for the main corpus, and 1, 2, … for supplementary corpora
    # Time at which the samples were written, in ns. If it changes, the file is mapped again.
    written: int = field(default=0, compare=False)

    @property
    def key(self) -> str:
        """The name of the folder: a hash of the content, sample rate and number of channels."""
        return self.folder.name

    @property
    def samples(self) -> np.ndarray:
        return _maps()(self.folder / "samples.npy", self.written)

    @property
    def levels(self) -> Float32[np.ndarray, "stem block"]:
        """The mean square of every block of each stem (see `activity`)."""
        return np.load(self.folder / "levels.npy", allow_pickle=False)

    @property
    def time(self) -> int:
        """The length in samples."""
        return int(self.samples.shape[-1])

    @property
    def unit(self) -> float:
        """The sample value that a stored 1 stands for."""
        return self.scale / 32768 if self.samples.dtype == np.int16 else 1.0

    def mixture(self) -> Float32[np.ndarray, "channel time"]:
        """The stored mixture, or else the sum of the stems."""
        if len(self.samples) > len(self.stems):
            return self._scaled(self.samples[0])
        return np.sum([self.read(stem) for stem in self.stems], axis=0)

    def read(
        self, stem: str, start: int = 0, time: int | None = None
    ) -> Float32[np.ndarray, "channel time"]:
        """`time` samples of a stem from sample `start` on, padded with silence."""
        time = self.time if time is None else time
        samples = self._scaled(self.stored(stem, start, time))
        return np.pad(samples, ((0, 0), (0, time - samples.shape[1])))

    def stored(self, stem: str, start: int, time: int) -> np.ndarray:
        """The samples of `read` as stored numbers (multiples of `unit`), without padding."""
        row = len(self.samples) - len(self.stems) + self.stems.index(stem)
        return self.samples[row, :, start : start + time]

    def _scaled(self, stored: np.ndarray) -> Float32[np.ndarray, "channel time"]:
        return stored.astype(np.float32) * np.float32(self.unit)


@cache
def _maps() -> Callable[[Path, int], np.ndarray]:
    """A cached function that maps a file of samples; it closes the least recently used maps.

    Every map keeps a file open, and the system limits open files per process (often to 1,024).
    """
    return lru_cache(maxsize=min(MOST_MAPS, open_files() // 2))(_map)


def _map(path: Path, written: int) -> np.ndarray:
    samples: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return samples


def open_files() -> int:
    """Raise this process's limit on open files, at most to 4 × `MOST_MAPS`. Return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = 4 * MOST_MAPS if hard == resource.RLIM_INFINITY else min(hard, 4 * MOST_MAPS)
    if soft == resource.RLIM_INFINITY:
        return target
    if soft < target:
        with suppress(OSError, ValueError):  # macOS has a second limit that it does not report
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
            return target
    return soft


def check_split(tracks: Sequence[StoredTrack]) -> None:
    """Raise `InputError` if one of the tracks belongs to the test subset."""
    for track in tracks:
        if track.subset == "test":
            raise InputError(f"{track.name}: this is a test song; use it for scoring only")


def corpus_fingerprint(tracks: Sequence[StoredTrack]) -> str:
    """Hash of the content of a set of tracks; it does not depend on their order."""
    return digest_of("\n".join(sorted(track.key for track in tracks)).encode())


def digest_of(content: bytes) -> str:
    """BLAKE2b hash of 16 bytes, in hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()
