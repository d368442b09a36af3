"""Every track decoded once, into arrays that are read where they lie.

``CACHE/tracks/KEY/`` holds ``samples.npy`` `(1 + stem, channel, time)`, the mixture first (left out
where it is the sum of the stems), and ``track.json``. KEY names what the source files hold (not
where they lie or when they changed), the rate and the channels, so a changed source is decoded
anew. A folder is written under a temporary name and renamed: what has a name is whole.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time as clock
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from rich.progress import Progress

from stemsplit import audio
from stemsplit.data.tracks import AudioSource, Subset, Track
from stemsplit.errors import DISK_FULL, InputError
from stemsplit.files import replacing

DAY = 24 * 60 * 60  # seconds
FORMAT = "1"  # Part of every key: change it when what is stored changes.


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

    @property
    def key(self) -> str:
        return self.folder.name

    @cached_property
    def samples(self) -> np.ndarray:
        return np.load(self.folder / "samples.npy", mmap_mode="r", allow_pickle=False)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "samples"}

    @property
    def time(self) -> int:
        """The length in samples."""
        return int(self.samples.shape[-1])

    def mixture(self) -> Float32[np.ndarray, "channel time"]:
        if len(self.samples) > len(self.stems):
            return self._read(0, 0, self.time)
        return np.sum([self.read(stem) for stem in self.stems], axis=0)

    def read(
        self, stem: str, start: int = 0, time: int | None = None
    ) -> Float32[np.ndarray, "channel time"]:
        """`time` samples of a stem from `start` on; silence after the track's end."""
        row = len(self.samples) - len(self.stems) + self.stems.index(stem)
        return self._read(row, start, self.time if time is None else time)

    def _read(self, row: int, start: int, time: int) -> Float32[np.ndarray, "channel time"]:
        stored = self.samples[row, :, start : start + time]
        samples = stored.astype(np.float32)
        if stored.dtype == np.int16:
            samples *= np.float32(self.scale / 32768)
        return np.pad(samples, ((0, 0), (0, time - samples.shape[1])))


class Store:
    """The decoded tracks under `cache`, at one sample rate and with one number of channels."""

    def __init__(self, cache: Path, sample_rate: int, channels: int) -> None:
        self.cache = cache
        self.sample_rate = sample_rate
        self.channels = channels

    def tracks(self, tracks: Sequence[Track]) -> list[StoredTrack]:
        """The tracks, decoded where they are not yet: in parallel, with a progress bar."""
        folders = [self.cache / "tracks" / self._key(track) for track in tracks]
        missing = {
            folder: track
            for folder, track in zip(folders, tracks, strict=True)
            if not _is_whole(folder)
        }
        if missing:
            self._sweep()
            self._decode_all(missing)
        return [self._open(*pair) for pair in zip(folders, tracks, strict=True)]

    def _sweep(self) -> None:
        """Remove what killed processes left behind: what is a day old, nobody is writing."""
        for partial in (self.cache / "tracks").glob(".partial-*"):
            if clock.time() - partial.stat().st_mtime > DAY:
                shutil.rmtree(partial, ignore_errors=True)

    def _decode_all(self, missing: dict[Path, Track]) -> None:
        # A track takes its length in float32 five times over while it is decoded.
        workers = min(len(missing), os.cpu_count() or 1, 8)
        with Progress() as progress, ThreadPoolExecutor(workers) as pool:
            bar = progress.add_task("decoding songs", total=len(missing))
            jobs = [pool.submit(self._decode, *item) for item in missing.items()]
            try:
                for job in as_completed(jobs):
                    job.result()
                    progress.advance(bar)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _decode(self, folder: Path, track: Track) -> None:
        stems, sixteen_bit = self._read(track)
        # A stream that ends early is silent from there on; the mixture says how long the song is.
        time = max(stem.shape[1] for stem in (stems if track.mixture is None else stems[:1]))
        scale = 1.0
        samples = np.zeros(
            (len(stems), self.channels, time), np.int16 if sixteen_bit else np.float32
        )
        if sixteen_bit:
            # A coded stream may overshoot full scale; it is kept whole, not clipped.
            highest = max(float(stem.max(initial=0)) for stem in stems)
            lowest = min(float(stem.min(initial=0)) for stem in stems)
            scale = max(1.0, highest * 32768 / 32767, -lowest)
        for row, stem in zip(samples, stems, strict=True):
            piece = stem[:, :time]
            row[:, : piece.shape[1]] = (
                np.round(piece * (32768 / scale)).clip(-32768, 32767) if sixteen_bit else piece
            )
        facts = {"name": track.name, "scale": scale, "shape": samples.shape}
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder.parent))
        try:
            with (partial / "samples.npy").open("wb") as file:
                np.save(file, samples)
                os.fsync(file.fileno())
            (partial / "track.json").write_text(json.dumps(facts))
            if not _is_whole(folder):  # otherwise another process was quicker
                shutil.rmtree(folder, ignore_errors=True)
                partial.rename(folder)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise InputError(
                    f"{folder.parent}: the disk is full; decoded, {track.name!r} takes "
                    f"{samples.nbytes / 2**20:.0f} MiB: free some room, or name another folder "
                    "with data.cache"
                ) from None
            if not _is_whole(folder):
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _read(self, track: Track) -> tuple[list[np.ndarray], bool]:
        """The mixture, if there is one, and the stems; whether 16 bits hold all of them."""
        sources = [*([track.mixture] if track.mixture else []), *track.stems.values()]
        wanted: dict[Path, set[int]] = {}
        for source in sources:
            if source is not None:
                wanted.setdefault(source.path, set()).add(source.stream)
        decoded = {
            (path, stream): found
            for path, streams in wanted.items()
            for stream, found in zip(
                sorted(streams), audio.read_streams(path, sorted(streams)), strict=True
            )
        }
        silence = np.zeros((self.channels, 0), np.float32)
        stems = [
            silence
            if source is None
            else self._converted(decoded[source.path, source.stream], source)
            for source in sources
        ]
        return stems, all(found.sixteen_bit for found in decoded.values())

    def _converted(self, found: audio.Audio, source: AudioSource) -> np.ndarray:
        samples = found.samples
        if source.channel is not None:
            if source.channel >= len(samples):
                raise InputError(
                    f"{source.path}: has {len(samples)} channel(s), {source.channel + 1} are needed"
                )
            samples = samples[[source.channel]]
        return audio.resample(
            audio.with_channels(samples, self.channels), found.sample_rate, self.sample_rate
        )

    def _open(self, folder: Path, track: Track) -> StoredTrack:
        facts = json.loads((folder / "track.json").read_text())
        return StoredTrack(
            track.name,
            track.subset,
            tuple(track.stems),
            folder,
            self.sample_rate,
            facts["scale"],
            track.weight,
        )

    def _key(self, track: Track) -> str:
        parts = [FORMAT, str(self.sample_rate), str(self.channels)]
        for stem, source in [("mixture", track.mixture), *track.stems.items()]:
            parts.append(stem)
            if source is not None:
                parts += [self._fingerprint(source.path), str(source.stream)]
                if source.channel is not None:
                    parts.append(f"channel {source.channel}")
        return _digest("\n".join(parts).encode())

    def _fingerprint(self, path: Path) -> str:
        """A digest of a file's content; taken once for as long as its size and time stay."""
        if not path.is_file():
            raise InputError(f"{path}: there is no such file")
        stat = path.stat()
        identity = f"{path.resolve()}\n{stat.st_size}\n{stat.st_mtime_ns}"
        memo = self.cache / "fingerprints" / _digest(identity.encode())
        if not memo.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "blake2b").hexdigest()
            with replacing(memo) as partial:
                partial.write_text(digest)
        return memo.read_text()


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _is_whole(folder: Path) -> bool:
    """Whether the folder holds a track with every sample that it declares."""
    try:
        facts = json.loads((folder / "track.json").read_text())
        samples = np.load(folder / "samples.npy", mmap_mode="r", allow_pickle=False)
        return samples.shape == tuple(facts["shape"]) and facts["scale"] >= 1
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return False


def corpus_fingerprint(tracks: Sequence[StoredTrack]) -> str:
    """Names what a set of tracks holds, whatever their order."""
    return _digest("\n".join(sorted(track.key for track in tracks)).encode())
