"""Decode every track once and store it as arrays that can be memory-mapped.

``CACHE/tracks/KEY/`` holds ``samples.npy`` `(1 + stem, channel, time)`, the block levels
``levels.npy`` `(stem, block)` (see `activity`) and ``track.json``. The first row of the samples is
the mixture; it is absent if the mixture is the sum of the stems. KEY is a hash of the content of
the source files, the sample rate and the number of channels, so a changed file is decoded again. A
folder is written under a temporary name and then renamed, so an interrupted process never leaves an
incomplete folder under its final name. `upkeep` lists, verifies and cleans the folders.
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
FORMAT = "4"  # part of every key; increase it whenever the stored format changes
PARTIAL = ".partial-"  # prefix of a folder that is being written or whose writer was killed
COPIES = 2.5  # peak memory while a track is decoded, in multiples of its float32 samples
WORKER_PAYS = 2**29  # decoded bytes per worker process; with fewer, its start costs more time
DIGEST = re.compile("[0-9a-f]{128}")
ROOM = 2**20  # bytes of disk space to keep free for other files


class Store:
    """The decoded tracks under `cache` with one sample rate and number of channels."""

    def __init__(self, cache: Path, sample_rate: int, channels: int) -> None:
        self.cache = cache
        self.sample_rate = sample_rate
        self.channels = channels

    def tracks(self, tracks: Sequence[Track]) -> list[StoredTrack]:
        """Open the tracks; decode missing ones in parallel and show a progress bar.

        If several processes call this at once (distributed training, a sweep), one of them decodes
        and the others wait. Raises `InputError` if a file cannot be decoded or the disk is full.
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
                if missing:  # another process may have decoded them during the wait
                    remove_leftovers(self.cache)
                    self._decode_all(missing)
        return [self._open(*pair) for pair in zip(folders, tracks, strict=True)]

    def repeated(self, tracks: Sequence[Track]) -> list[tuple[Track, Track]]:
        """Pairs of tracks from different subsets with the same content.

        Only files of equal size are read.
        """
        by_size: dict[tuple[int, ...], list[Track]] = {}
        for track in tracks:
            files = [source.path for source in sources(track).values()]
            if all(file.is_file() for file in files):  # decoding reports missing files
                by_size.setdefault(tuple(f.stat().st_size for f in files), []).append(track)
        pairs = []
        for candidates in by_size.values():
            if len({track.subset for track in candidates}) > 1:
                first_with_key: dict[str, Track] = {}
                for track in candidates:
                    first = first_with_key.setdefault(self._key(track), track)
                    if first is not track:
                        pairs.append((first, track))
        return pairs

    def _decode_all(self, missing: Mapping[Path, Track]) -> None:
        sizes = self._sizes(missing.values())
        self._check_room(len(missing), sum(sizes))
        # Songs are decoded to float32, which takes twice the memory of 16 bits.
        largest = COPIES * 2 * max(sizes, default=0)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2
        workers = min(
            len(missing),
            os.cpu_count() or 1,
            int(memory / (largest or 1)),
            int(sum(sizes) / WORKER_PAYS),
        )
        # Processes, not threads: decoders return many small frames and hold the interpreter lock.
        pool = Parallel(n_jobs=max(1, workers), return_as="generator_unordered")
        with Progress() as progress:
            bar = progress.add_task("decoding songs", total=len(missing))
            decode_one = self._decode if workers < 2 else self._decode_as_worker
            try:
                for _ in pool(delayed(decode_one)(*item) for item in missing.items()):
                    progress.advance(bar)
            finally:
                if workers > 1:  # idle workers would keep their memory
                    get_reusable_executor().shutdown()

    def _sizes(self, tracks: Iterable[Track]) -> list[float]:
        """Estimate the decoded size of each track in bytes from the headers of its files."""
        tracks = list(tracks)
        headers = headers_of(tracks)
        sizes = []
        for track in tracks:
            header_or_error = [headers[source] for source in sources(track).values()]
            readable = [header for header in header_or_error if isinstance(header, Header)]
            rows = len(track.stems) + (track.mixture is not None)
            seconds = max((header.about_seconds for header in readable), default=0.0)
            sample_bytes = 2 if all(header.sixteen_bit for header in readable) else 4
            sizes.append(rows * self.channels * seconds * self.sample_rate * sample_bytes)
        return sizes

    def _check_room(self, songs: int, needed: float) -> None:
        """Print the disk space that is needed; raise `InputError` if there is less."""
        folder = self.cache / "tracks"
        check_writable(folder, "data.cache")
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        text = (
            f"{songs} decoded {'song takes' if songs == 1 else 'songs take'} about {size(needed)}"
        )
        if needed + ROOM > free:
            raise InputError(
                f"{folder}: the disk has {size(free)} free, but {text}; free some space (python "
                "-m stemsplit.data clean) or choose another folder with data.cache"
            )
        print(f"{text} in {folder} ({size(free)} free)", file=sys.stderr)

    def _decode_as_worker(self, folder: Path, track: Track) -> None:
        keep_freed_memory()  # the next song needs as much memory
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
        # Not tempfile.mkdtemp: its folders are private, and the store may be shared.
        partial = folder.with_name(f"{PARTIAL}{uuid.uuid4().hex}")
        partial.mkdir()
        try:
            self._write(partial, decoded, facts)
            if not is_whole(folder):  # another process may have written it meanwhile
                shutil.rmtree(folder, ignore_errors=True)
                partial.rename(folder)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise InputError(
                    f"{folder.parent}: the disk is full; {track.name!r} needs "
                    f"{size(decoded.samples.nbytes)}; free some space or choose another folder "
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
                # Not np.save: its error does not tell whether the disk is full.
                header = np.lib.format.header_data_from_array_1_0(array)
                np.lib.format.write_array_header_1_0(file, header)
                file.write(array.data)
                os.fsync(file.fileno())
        (partial / "track.json").write_text(json.dumps(facts))

    def _open(self, folder: Path, track: Track) -> StoredTrack:
        facts_file = folder / "track.json"
        facts = json.loads(facts_file.read_text())
        if os.access(facts_file, os.W_OK):  # a cache may be shared read-only
            os.utime(facts_file)  # time of last use, for `upkeep`
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
        layout = [FORMAT, str(self.sample_rate), str(self.channels)]
        return digest_of("\n".join([*layout, *self._content_parts(track)]).encode())

    def content(self, track: Track) -> str:
        """Hash of the content of a song's files; it ignores file names and the store's format."""
        return digest_of("\n".join(self._content_parts(track)).encode())

    def _content_parts(self, track: Track) -> list[str]:
        parts = []
        for stem, source in [("mixture", track.mixture), *track.stems.items()]:
            parts.append(stem)
            if source is not None:
                parts += [self._fingerprint(source.path), str(source.stream)]
                if source.channel is not None:
                    parts.append(f"channel {source.channel}")
        return parts

    def _fingerprint_all(self, tracks: Sequence[Track]) -> None:
        """Hash all files without a stored fingerprint, in parallel."""
        paths = sorted({source.path for track in tracks for source in sources(track).values()})
        with ThreadPoolExecutor() as pool:
            if all(pool.map(self._stored_fingerprint, paths)):
                return
            with one_at_a_time(self.cache, "reads songs"):
                list(pool.map(self._fingerprint, paths))

    def _fingerprint(self, path: Path) -> str:
        """Hash of a file's content; it is computed again only after the file changes."""
        if (stored := self._stored_fingerprint(path)) is not None:
            return stored
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "blake2b").hexdigest()
        with where_writable(), replacing(self._fingerprint_file(path)) as partial:
            partial.write_text(digest)
        return digest

    def _stored_fingerprint(self, path: Path) -> str | None:
        """The stored hash of a file, or None if the file has changed since it was hashed."""
        if (reason := unreadable(path)) is not None:
            raise InputError(reason)
        file = self._fingerprint_file(path)
        digest = file.read_text(errors="replace") if file.is_file() else ""
        return digest if DIGEST.fullmatch(digest) else None

    def _fingerprint_file(self, path: Path) -> Path:
        """The file that stores the hash of the file `path`.

        Its name depends on the modification time and on the status change time (ctime): a program
        can set the former to an earlier time, but not the latter.
        """
        stat = path.stat()
        times = f"{stat.st_mtime_ns}\n{stat.st_ctime_ns}"
        identity = f"{path.resolve()}\n{stat.st_ino}\n{stat.st_size}\n{times}"
        return self.cache / "fingerprints" / digest_of(os.fsencode(identity))


def checksum(samples: np.ndarray, levels: np.ndarray) -> int:
    """CRC-32 of the samples and the levels."""
    return zlib.crc32(levels.data, zlib.crc32(samples.data))


def is_whole(folder: Path) -> bool:
    """Whether the folder holds a decoded track whose arrays have the declared shapes."""
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


def remove_leftovers(cache: Path) -> list[Path]:
    """Remove the incomplete folders of killed processes and return their paths.

    Only folders older than a day are removed: a running process may still write a newer one.
    """
    leftovers = [
        partial
        for partial in (cache / "tracks").glob(f"{PARTIAL}*")
        if clock.time() - partial.stat().st_mtime > DAY
    ]
    for partial in leftovers:
        shutil.rmtree(partial, ignore_errors=True)
    return leftovers


def size(count: float) -> str:
    """Format a number of bytes, as in "1.5 GB" or "12 MB"."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
