"""List, verify and clean the decoded songs."""

import json
import shutil
import time as clock
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stemsplit.data.store.store import FORMAT
from stemsplit.data.store.track_folders import DAY, PARTIAL, checksum, is_whole, remove_leftovers
from stemsplit.errors import InputError


@dataclass(frozen=True)
class Entry:
    """A decoded track of the store. `path` is its source file at the time of decoding."""

    folder: Path
    name: str
    path: str
    sample_rate: int
    size: int  # bytes
    unused_days: float


def entries(cache: Path) -> list[Entry]:
    """The complete tracks in the current format, sorted by size, largest first."""
    current = [_entry(folder) for folder in _folders(cache) if _is_current(folder)]
    return sorted(current, key=lambda entry: -entry.size)


def verify(cache: Path) -> Iterator[tuple[Path, bool]]:
    """Read every track; yield its folder and whether the track is intact.

    A track is intact if it is complete, in the current format, and has the correct checksum.
    """
    folders = _folders(cache)
    with ThreadPoolExecutor() as pool:
        yield from zip(folders, pool.map(_is_intact, folders), strict=True)


def clean(cache: Path, unused_days: float | None) -> Iterator[tuple[Path, str]]:
    """Remove damaged tracks, leftovers of killed processes and tracks in another version's format.

    If `unused_days` is not None, also removes tracks that were not used for this many days. Yields
    each removed folder and the reason, for example "is damaged". Keeps folders that another process
    may be writing. Raises `InputError` if a folder cannot be removed.
    """
    for partial in remove_leftovers(cache):
        yield partial, "was left by a killed process"
    for folder in _folders(cache):
        reason = None
        if not _is_current(folder):
            reason = "is damaged or was written by another version"
        elif not _is_intact(folder):
            reason = "is damaged"
        elif unused_days is not None and (days := _entry(folder).unused_days) >= unused_days:
            reason = f"was not used for {days:.0f} days"
        if reason is not None:
            try:
                shutil.rmtree(folder)
            except OSError as error:
                raise InputError(f"{folder}: cannot be removed ({error.strerror})") from None
            yield folder, reason


def _folders(cache: Path) -> list[Path]:
    return sorted(
        folder
        for folder in (cache / "tracks").glob("*")
        if folder.is_dir() and not folder.is_symlink() and not folder.name.startswith(PARTIAL)
    )


def _is_current(folder: Path) -> bool:
    if not is_whole(folder):
        return False
    facts = _facts(folder)
    return facts.get("format") == FORMAT and {"name", "path", "sample_rate", "crc32"} <= set(facts)


def _is_intact(folder: Path) -> bool:
    if not _is_current(folder):
        return False
    samples = np.load(folder / "samples.npy", mmap_mode="r", allow_pickle=False)
    levels = np.load(folder / "levels.npy", allow_pickle=False)
    return checksum(samples, levels) == _facts(folder)["crc32"]


def _facts(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / "track.json").read_text())
    return facts


def _entry(folder: Path) -> Entry:
    facts = _facts(folder)
    # The time stamp can lie in the future, if the clock was wrong.
    unused = max(0.0, clock.time() - (folder / "track.json").stat().st_mtime)
    return Entry(
        folder,
        facts["name"],
        facts["path"],
        facts["sample_rate"],
        sum(file.stat().st_size for file in folder.iterdir()),
        unused / DAY,
    )
