"""Decode every track once and store it as arrays that can be memory-mapped.

``CACHE/tracks/KEY/`` is the folder of a decoded track (see `track_folders`). KEY is a hash of the
content of the source files, the sample rate and the number of channels, so a changed file is
decoded again. `upkeep` lists, verifies and cleans the folders.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from rich.filesize import decimal
from rich.progress import Progress

from stemsplit.data.headers import Header, headers_of, sources
from stemsplit.data.store.decoding import decode
from stemsplit.data.store.fingerprints import Fingerprints
from stemsplit.data.store.loudness import refuse_loud
from stemsplit.data.store.stored import StoredTrack, digest_of
from stemsplit.data.store.track_folders import checksum, is_whole, remove_leftovers, write
from stemsplit.data.tracks import Track
from stemsplit.errors import DISK_FULL, InputError
from stemsplit.files import check_writable, one_at_a_time
from stemsplit.machine.allocator import keep_freed_memory

FORMAT = "4"  # part of every key; increase it whenever the stored format changes
FIRST = ("drums", "bass", "other", "vocals")  # in hashes of contents, followed by other stems
COPIES = 2.5  # peak memory while a track is decoded, in multiples of its float32 samples
BYTES_PER_WORKER = 2**29  # decoded bytes that make the start of a worker process worthwhile
RESERVED_BYTES = 2**20  # bytes of disk space to keep free for other files


class Store:
    """The decoded tracks under `cache` with one sample rate and number of channels."""

    def __init__(self, cache: Path, sample_rate: int, channels: int) -> None:
        self.cache = cache
        self.sample_rate = sample_rate
        self.channels = channels
        self.fingerprints = Fingerprints(cache)

    def tracks(self, tracks: Sequence[Track]) -> list[StoredTrack]:
        """Open the tracks; decode missing ones in parallel and show a progress bar.

        If several processes call this at once (distributed training, a sweep), one of them decodes
        and the others wait. Raises `InputError` if a file cannot be decoded or the disk is full.
        """
        self.fingerprints.take(
            source.path for track in tracks for source in sources(track).values()
        )
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
        return [self._open(folder, track) for folder, track in zip(folders, tracks, strict=True)]

    def repeated(self, tracks: Sequence[Track]) -> list[tuple[Track, Track]]:
        """Pairs of tracks with the same content; both may be in the same subset.

        The first track of a pair is the first of all tracks with this content. The files of a track
        are read only if a track of another subset has files of the same sizes.
        """
        by_size: dict[tuple[int, ...], list[Track]] = {}
        for track in tracks:
            files = [source.path for source in sources(track).values()]
            if all(file.is_file() for file in files):  # decoding reports missing files
                sizes = tuple(sorted(file.stat().st_size for file in files))
                by_size.setdefault(sizes, []).append(track)
        pairs = []
        for candidates in by_size.values():
            if len({track.subset for track in candidates}) > 1:
                first_with_content: dict[str, Track] = {}
                for track in candidates:
                    first = first_with_content.setdefault(self.content(track), track)
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
            int(sum(sizes) / BYTES_PER_WORKER),
        )
        # Songs are decoded in processes. Threads would wait for each other, because decoders return
        # many small frames and hold the interpreter lock.
        pool = Parallel(n_jobs=max(1, workers), return_as="generator_unordered")
        with Progress() as progress:
            bar = progress.add_task("decoding songs", total=len(missing))
            decode_one = self._decode if workers < 2 else self._decode_as_worker
            try:
                jobs = (delayed(decode_one)(folder, track) for folder, track in missing.items())
                for _ in pool(jobs):
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
        """Print the disk space that is needed; raise `InputError` if less is free."""
        folder = self.cache / "tracks"
        check_writable(folder, "data.cache")
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        text = (
            f"{songs} decoded {'song takes' if songs == 1 else 'songs take'} about "
            f"{decimal(round(needed))}"
        )
        if needed + RESERVED_BYTES > free:
            raise InputError(
                f"{folder}: the disk has {decimal(free)} free, but {text}; free some space "
                "(stemsplit data clean) or choose another folder with data.cache"
            )
        print(f"{text} in {folder} ({decimal(free)} free)", file=sys.stderr)

    def _decode_as_worker(self, folder: Path, track: Track) -> None:
        keep_freed_memory()  # so that the next song can use the memory
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
        try:
            write(folder, decoded, facts)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise InputError(
                    f"{folder.parent}: the disk is full; {track.name!r} needs "
                    f"{decimal(decoded.samples.nbytes)}; free some space or choose another folder "
                    "with data.cache"
                ) from None
            if not is_whole(folder):
                raise

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
        parts = self._content_parts(track, list(track.stems))
        return digest_of("\n".join([*layout, *parts]).encode())

    def content(self, track: Track) -> str:
        """Hash of the content of a song's files, by stem.

        File names, the order of the stems and the format of the store do not matter.
        """
        stems = sorted(
            track.stems,
            key=lambda stem: (FIRST.index(stem) if stem in FIRST else len(FIRST), stem),
        )
        return digest_of("\n".join(self._content_parts(track, stems)).encode())

    def _content_parts(self, track: Track, stems: Sequence[str]) -> list[str]:
        parts = []
        streams = [(stem, track.stems[stem]) for stem in stems]
        for stem, source in [("mixture", track.mixture), *streams]:
            parts.append(stem)
            if source is not None:
                parts += [self.fingerprints.of(source.path), str(source.stream)]
                if source.channel is not None:
                    parts.append(f"channel {source.channel}")
        return parts
