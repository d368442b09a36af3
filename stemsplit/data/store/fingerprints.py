"""Fingerprints of files: hashes of their content, which are stored until a file changes."""

import hashlib
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stemsplit.audio.entries import unreadable
from stemsplit.data.store.stored import digest_of
from stemsplit.errors import InputError
from stemsplit.files import one_at_a_time, replacing, where_writable

DIGEST = re.compile("[0-9a-f]{128}")


class Fingerprints:
    """The fingerprints of source files, stored in the folder of a cache."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache

    def take(self, paths: Iterable[Path]) -> None:
        """Hash all files without a stored fingerprint, in parallel."""
        distinct = sorted(set(paths))
        with ThreadPoolExecutor() as pool:
            if all(pool.map(self._stored, distinct)):
                return
            with one_at_a_time(self.cache, "reads songs"):
                list(pool.map(self.of, distinct))

    def of(self, path: Path) -> str:
        """Hash of a file's content; it is computed again only after the file changes."""
        if (stored := self._stored(path)) is not None:
            return stored
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "blake2b").hexdigest()
        with where_writable(), replacing(self._stored_at(path)) as partial:
            partial.write_text(digest)
        return digest

    def _stored(self, path: Path) -> str | None:
        """The stored hash of a file, or None if the file was not hashed after its last change."""
        if (reason := unreadable(path)) is not None:
            raise InputError(reason)
        file = self._stored_at(path)
        digest = file.read_text(errors="replace") if file.is_file() else ""
        return digest if DIGEST.fullmatch(digest) else None

    def _stored_at(self, path: Path) -> Path:
        """The file that stores the hash of the file `path`.

        Its name is a hash of the path, inode, size, modification time and status change time
        (ctime) of `path`. The ctime is needed because a program can reset the modification time
        after a change, but not the ctime.
        """
        stat = path.stat()
        times = f"{stat.st_mtime_ns}\n{stat.st_ctime_ns}"
        identity = f"{path.resolve()}\n{stat.st_ino}\n{stat.st_size}\n{times}"
        return self.cache / "fingerprints" / digest_of(os.fsencode(identity))
