"""The temporary folder of a server, which holds uploads and stems."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from stemsplit.machine.caches import private_temporary_folder

PREFIX = "page-"
LOCK = ".lock"


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a new folder; remove it when the block ends.

    First, the folders that killed servers left behind are removed. A running server holds a lock on
    its folder. The operating system releases this lock when the server ends, even if it is killed,
    so a folder that can be locked belongs to no running server.
    """
    parent = private_temporary_folder()
    remove_leftovers(parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    lock = FileLock(folder / LOCK)
    lock.acquire()
    try:
        yield folder
    finally:
        # Windows cannot remove a file that a download still reads. Such errors are ignored.
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def remove_leftovers(parent: Path) -> None:
    """Remove the folders of servers that no longer run."""
    for folder in parent.glob(f"{PREFIX}*"):
        # A folder without a lock file may belong to another server that is just starting.
        if folder.is_symlink() or not (folder / LOCK).is_file():
            continue
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        try:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            lock.release()
