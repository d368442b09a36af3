"""Decode every track once, into memory-mapped arrays.

``CACHE/tracks/KEY/`` holds ``samples.npy`` `(1 + stem, channel, time)` with the mixture first (or
without it, if it is the sum of the stems), the activity map ``levels.npy`` (see `activity`), and
``track.json``. KEY is a hash of the content of the source files, the sample rate and the channels:
a changed file is decoded again. A folder is written under a temporary name and then renamed, so a
folder of that name is whole. `upkeep` manages the folders.
"""

import hashlib
import json
import os
import re
import shutil
import sys
import time as clock
import uuid
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from rich.progress import Progress

from stemsplit.audio.entries import unreadable
from stemsplit.data.headers import Header, headers_of, sources
from stemsplit.data.store.decoding import Decoded, decode
from stemsplit.data.store.loudness import refuse_loud
from stemsplit.data.store.stored import StoredTrack, digest_of
from stemsplit.data.tracks import Track
from stemsplit.errors import DISK_FULL, InputError
from stemsplit.files import check_writable, one_at_a_time, replacing, where_writable
from stemsplit.machine.allocator import keep_freed_memory

DAY = 24 * 60 * 60  # seconds
FORMAT = "4"  # Part of every key: change it when what is stored changes.
PARTIAL = ".partial-"  # A folder that is being written, or whose writer was killed.
# While a track is decoded it takes its length in float32 this many times over, besides its stems.
COPIES = 2.5
WORKER_PAYS = 2**29  # bytes decoded that take a process longer than being started
DIGEST = re.compile("[0-9a-f]{128}")
ROOM = 2**20  # bytes left free beside the songs, for what else is written


class Store:
    """The decoded tracks under `cache`, at one sample rate and with one number of channels."""

    def __init__(self, cache: Path, sample_rate: int, channels: int) -> None:
        self.cache = cache
        self.sample_rate = sample_rate
        self.channels = channels

    def tracks(self, tracks: Sequence[Track]) -> list[StoredTrack]:
        """The tracks, decoded where they are not yet: in parallel, with a progress bar.

        Of several processes (a distributed training's, a sweep's) one decodes; the others wait.
        """
        self._fingerprint_all(tracks)
        folders = [self.cache / "tracks" / self._key(track) for track in tracks]
        if not all(map(is_whole, folders)):
            with one_at_a_time(self.cache, "decodes songs"):
                missing = {
                    folder: track
                    for folder, track in zip(folders, tracks, strict=True)
                    if not is_whole(folder)
                }
                if missing:  # else the process that was waited for decoded them
                    sweep(self.cache)
                    self._decode_all(missing)
        return [self._open(*pair) for pair in zip(folders, tracks, strict=True)]

    def repeated(self, tracks: Sequence[Track]) -> list[tuple[Track, Track]]:
        """Pairs of tracks with the same content; only files of equal size are read for it."""
        by_size: dict[tuple[int, ...], list[Track]] = {}
        for track in tracks:
            files = [source.path for source in sources(track).values()]
            if all(file.is_file() for file in files):  # else it is said where they are read
                by_size.setdefault(tuple(f.stat().st_size for f in files), []).append(track)
        pairs = []
        for alike in by_size.values():
            if len({track.subset for track in alike}) > 1:
                first: dict[str, Track] = {}
                for track in alike:
                    other = first.setdefault(self._key(track), track)
                    if other is not track:
                        pairs.append((other, track))
        return pairs

    def _decode_all(self, missing: Mapping[Path, Track]) -> None:
        sizes = self._sizes(missing.values())
        self._check_room(len(missing), sum(sizes))
        # Rounded from float32, a 16-bit song takes twice as much while it is decoded.
        largest = COPIES * 2 * max(sizes, default=0)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2
        workers = min(
            len(missing),
            os.cpu_count() or 1,
            int(memory / (largest or 1)),
            int(sum(sizes) / WORKER_PAYS),
        )
        # (Threads would wait for each other: a decoder's frames are many and small.)
        pool = Parallel(n_jobs=max(1, workers), return_as="generator_unordered")
        with Progress() as progress:
            bar = progress.add_task("decoding songs", total=len(missing))
            decode_one = self._decode if workers < 2 else self._decode_as_worker
            try:
                for _ in pool(delayed(decode_one)(*item) for item in missing.items()):
                    progress.advance(bar)
            finally:
                if workers > 1:  # they would wait for more, and keep their memory
                    get_reusable_executor().shutdown()

    def _sizes(self, tracks: Iterable[Track]) -> list[float]:
        """What the tracks will take, in bytes, as far as the headers of their files tell."""
        tracks = list(tracks)
        headers = headers_of(tracks)
        sizes = []
        for track in tracks:
            found = [headers[source] for source in sources(track).values()]
            read = [header for header in found if isinstance(header, Header)]
            rows = len(track.stems) + (track.mixture is not None)
            seconds = max((header.about_seconds for header in read), default=0.0)
            depth = 2 if all(header.sixteen_bit for header in read) else 4
            sizes.append(rows * self.channels * seconds * self.sample_rate * depth)
        return sizes

    def _check_room(self, songs: int, needed: float) -> None:
        """Say what will be written; refuse where it cannot fit."""
        folder = self.cache / "tracks"
        check_writable(folder, "data.cache")
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        text = (
            f"{songs} {'song takes' if songs == 1 else 'songs take'} about {size(needed)} decoded"
        )
        if needed + ROOM > free:
            raise InputError(
                f"{folder}: has {size(free)} free, but {text}: free some space (python -m "
                "stemsplit.data clean), or name another folder with data.cache"
            )
        print(f"{text}, in {folder} ({size(free)} free)", file=sys.stderr)

    def _decode_as_worker(self, folder: Path, track: Track) -> None:
        keep_freed_memory()  # the next song takes as much
        self._decode(folder, track)

    def _decode(self, folder: Path, track: Track) -> None:
        decoded = decode(track, self.sample_rate, self.channels)
        unit = decoded.scale / 32768 if decoded.samples.dtype == np.int16 else 1.0
        refuse_loud(track, decoded.samples, unit, self.sample_rate)
        facts = {
            "name": track.name,
            "path": str(track.path),
            "format": FORMAT,
            "sample_rate": self.sample_rate,
            "scale": decoded.scale,
            "shape": decoded.samples.shape,
            "crc32": checksum(decoded.samples, decoded.levels),
        }
        # (Not mkdtemp's, which nobody else may read: the store may be shared.)
        partial = folder.with_name(f"{PARTIAL}{uuid.uuid4().hex}")
        partial.mkdir()
        try:
            self._write(partial, decoded, facts)
            if not is_whole(folder):  # otherwise another process was quicker
                shutil.rmtree(folder, ignore_errors=True)
                partial.rename(folder)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise InputError(
                    f"{folder.parent}: the disk is full; decoded, {track.name!r} takes "
                    f"{size(decoded.samples.nbytes)}: free some space, or name another folder "
                    "with data.cache"
                ) from None
            if not is_whole(folder):
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    @staticmethod
    def _write(partial: Path, decoded: Decoded, facts: dict[str, object]) -> None:
        for name, array in (("samples.npy", decoded.samples), ("levels.npy", decoded.levels)):
            with (partial / name).open("wb") as file:
                # (np.save does not say why it could not write: a full disk would not be known.)
                header = np.lib.format.header_data_from_array_1_0(array)
                np.lib.format.write_array_header_1_0(file, header)
                file.write(array.data)
                os.fsync(file.fileno())
        (partial / "track.json").write_text(json.dumps(facts))

    def _open(self, folder: Path, track: Track) -> StoredTrack:
        facts_file = folder / "track.json"
        facts = json.loads(facts_file.read_text())
        if os.access(facts_file, os.W_OK):  # a cache may be shared read-only
            os.utime(facts_file)  # when it was last used, for `upkeep`
        return StoredTrack(
            track.name,
            track.subset,
            tuple(track.stems),
            folder,
            self.sample_rate,
            facts["scale"],
            track.weight,
            track.corpus,
            (folder / "samples.npy").stat().st_ctime_ns,
        )

    def _key(self, track: Track) -> str:
        form = [FORMAT, str(self.sample_rate), str(self.channels)]
        return digest_of("\n".join([*form, *self._sources(track)]).encode())

    def content(self, track: Track) -> str:
        """Names what a song's files hold, whatever they are called and however they are stored."""
        return digest_of("\n".join(self._sources(track)).encode())

    def _sources(self, track: Track) -> list[str]:
        parts = []
        for stem, source in [("mixture", track.mixture), *track.stems.items()]:
            parts.append(stem)
            if source is not None:
                parts += [self._fingerprint(source.path), str(source.stream)]
                if source.channel is not None:
                    parts.append(f"channel {source.channel}")
        return parts

    def _fingerprint_all(self, tracks: Sequence[Track]) -> None:
        """Read the files that were not read before, several at a time."""
        paths = sorted({source.path for track in tracks for source in sources(track).values()})
        with ThreadPoolExecutor() as pool:
            if all(pool.map(self._kept_fingerprint, paths)):
                return
            with one_at_a_time(self.cache, "reads songs"):
                list(pool.map(self._fingerprint, paths))

    def _fingerprint(self, path: Path) -> str:
        """A digest of a file's content; taken once for as long as nothing touches the file."""
        if (kept := self._kept_fingerprint(path)) is not None:
            return kept
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "blake2b").hexdigest()
        with where_writable(), replacing(self._memo(path)) as partial:
            partial.write_text(digest)
        return digest

    def _kept_fingerprint(self, path: Path) -> str | None:
        """None where the file was not read since it was last touched."""
        if (reason := unreadable(path)) is not None:
            raise InputError(reason)
        memo = self._memo(path)
        kept = memo.read_text(errors="replace") if memo.is_file() else ""
        return kept if DIGEST.fullmatch(kept) else None

    def _memo(self, path: Path) -> Path:
        """Where the digest of a file is kept.

        (A file's time of modification can be set back, by a copy for instance; that of the last
        change of anything about it cannot.)
        """
        stat = path.stat()
        times = f"{stat.st_mtime_ns}\n{stat.st_ctime_ns}"
        identity = f"{path.resolve()}\n{stat.st_ino}\n{stat.st_size}\n{times}"
        return self.cache / "fingerprints" / digest_of(os.fsencode(identity))


def checksum(samples: np.ndarray, levels: np.ndarray) -> int:
    return zlib.crc32(levels.data, zlib.crc32(samples.data))


def is_whole(folder: Path) -> bool:
    """Whether the folder holds a track with every sample that it declares."""
    try:
        facts = json.loads((folder / "track.json").read_text())
        samples = np.load(folder / "samples.npy", mmap_mode="r", allow_pickle=False)
        levels = np.load(folder / "levels.npy", allow_pickle=False)
        return (
            samples.shape == tuple(facts["shape"])
            and levels.ndim == 2
            and len(samples) - len(levels) in (0, 1)
            and facts["scale"] >= 1
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return False


def sweep(cache: Path) -> list[Path]:
    """Remove what killed processes left behind: what is a day old, nobody is writing."""
    left = [
        partial
        for partial in (cache / "tracks").glob(f"{PARTIAL}*")
        if clock.time() - partial.stat().st_mtime > DAY
    ]
    for partial in left:
        shutil.rmtree(partial, ignore_errors=True)
    return left


def size(count: float) -> str:
    """Bytes as a person reads them."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
