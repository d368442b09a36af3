"""Write the folder of a decoded track completely or not at all, and check such a folder.

The folder holds ``samples.npy`` `(1 + stem, channel, time)`, the block levels ``levels.npy``
`(stem, block)` (see `activity`) and ``track.json``. The first row of the samples is the mixture; it
is absent if the mixture is the sum of the stems.
"""

import json
import os
import shutil
import time as clock
import uuid
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stemsplit.data.store.decoding import Decoded

DAY = 24 * 60 * 60  # seconds
PARTIAL = ".partial-"  # prefix of a folder that is being written or whose writer was killed


def write(folder: Path, decoded: Decoded, facts: Mapping[str, object]) -> None:
    """Write a track under a temporary name and then rename its folder.

    An interrupted process never leaves an incomplete folder under the final name. If another
    process has written the same folder meanwhile, the folder of the other process is kept.
    """
    # tempfile.mkdtemp would make a private folder, but other users may share the store.
    partial = folder.with_name(f"{PARTIAL}{uuid.uuid4().hex}")
    partial.mkdir()
    try:
        for name, array in (("samples.npy", decoded.samples), ("levels.npy", decoded.levels)):
            _write_array(partial / name, array)
        (partial / "track.json").write_text(json.dumps(facts))
        if not is_whole(folder):
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_array(path: Path, array: np.ndarray) -> None:
    """Like `np.save`, but its error tells whether the disk is full."""
    with path.open("wb") as file:
        header = np.lib.format.header_data_from_array_1_0(array)
        np.lib.format.write_array_header_1_0(file, header)
        file.write(array.data)
        os.fsync(file.fileno())


def checksum(samples: np.ndarray, levels: np.ndarray) -> int:
    """CRC-32 of the samples and the levels."""
    return zlib.crc32(levels.data, zlib.crc32(samples.data))


def is_whole(folder: Path) -> bool:
    """Whether the folder holds a complete decoded track.

    The shapes of the arrays and the facts in ``track.json`` are checked, but not the samples.
    """
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

    Only folders older than a day are removed, because a running process may still write to a newer
    folder.
    """
    leftovers = [
        partial
        for partial in (cache / "tracks").glob(f"{PARTIAL}*")
        if clock.time() - partial.stat().st_mtime > DAY
    ]
    for partial in leftovers:
        shutil.rmtree(partial, ignore_errors=True)
    return leftovers
