"""Write files whole or not at all, and lock folders against other processes."""

import errno
import hashlib
import os
import signal
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

from filelock import FileLock, Timeout

from stemsplit.errors import InputError

READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
LONGEST_NAME = 255  # bytes, of almost every file system
PROBE = b"\0" * 2**20


@contextmanager
def where_writable() -> Iterator[None]:
    """Around what is only kept to save time: a folder that may only be read is no error."""
    try:
        yield
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise


def make_writable_folder(folder: Path, way_out: str = "choose another folder") -> None:
    """Make a folder, and raise `InputError` unless files can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{folder}: is not writable ({error.strerror}); {way_out}") from None


def file_name(name: str, suffix: str = "") -> str:
    """`name` and `suffix`; a name that file systems find too long is cut, and a digest names it."""
    encoded = name.encode("utf-8", "surrogateescape")
    room = LONGEST_NAME - len(suffix.encode())
    if len(encoded) <= room:
        return name + suffix
    digest = hashlib.blake2b(encoded, digest_size=8).hexdigest()
    kept = encoded[: room - len(digest) - 1].decode("utf-8", "ignore")
    return f"{kept}-{digest}{suffix}"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write to the yielded temporary path; it takes `path`'s place when the block ends well.

    Raises `OSError` with the name of `path` if the disk is full or the folder cannot be written
    to, even where the library that writes raises an error of its own.
    """
    with replacing_together() as partial:
        yield partial(path)


@contextmanager
def replacing_together() -> Iterator[Callable[[Path], Path]]:
    """Write several files that take their places together when the block ends well.

    The yielded function gives the temporary path at which to write the file of a path. It stands
    beside the file and does not contain its name, which may have the greatest length already.
    """
    partials: dict[Path, Path] = {}

    def partial(path: Path) -> Path:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if path.exists() and not path.is_file():  # it would be replaced by a file
            raise InputError(f"{path}: is a device or a pipe; choose a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        return partials.setdefault(path, path.with_name(f".{uuid.uuid4().hex}.partial"))

    with exit_at_sigterm():
        try:
            try:
                yield partial
            except OSError:
                raise
            except Exception as error:
                if partials:
                    _raise_if_full(list(partials.values())[-1], error)
                raise
            for written in partials.values():
                with written.open("rb") as file:
                    os.fsync(file.fileno())
            for path, written in partials.items():
                os.replace(written, path)
        except OSError as error:
            names = {str(written): str(path) for path, written in partials.items()}
            if error.errno and error.filename is None and len(names) == 1:
                (error.filename,) = names.values()
            elif str(error.filename) in names:
                error.filename = names[str(error.filename)]
            raise
        finally:
            for written in partials.values():
                written.unlink(missing_ok=True)


@contextmanager
def exit_at_sigterm() -> Iterator[None]:
    """Inside, SIGTERM raises `SystemExit`, so that temporary files are removed.

    A program's own handler, as Lightning has one while it trains, stays.
    """
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def default_sigterm() -> Iterator[None]:
    """Inside `exit_at_sigterm`, give SIGTERM back its default for a library's own handler."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def _raise_if_full(partial: Path, cause: Exception) -> None:
    """Raise the system's error if nothing can be added to a file.

    torch and libsndfile report a full disk by errors of their own, without the system's reason.
    """
    if not partial.exists():
        return
    try:
        with partial.open("ab") as file:
            file.write(PROBE)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(partial)) from cause


@contextmanager
def one_at_a_time(folder: Path, what: str) -> Iterator[None]:
    """Let one process at a time into the block, of all that name this folder.

    The others say what they wait for. A process that is killed leaves no lock behind. Where nothing
    can be locked (in a folder that may only be read), nobody waits.
    """
    lock = FileLock(folder / ".lock")
    with suppress(OSError, NotImplementedError):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"{folder}: another process {what}, waiting for it", file=sys.stderr)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def check_writable(folder: Path, setting: str) -> None:
    """Raise `InputError` if a folder cannot be made or written; `setting` chooses another."""
    place = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not place.is_dir():
        raise InputError(f"{place}: is not a folder; choose another one with {setting}=FOLDER")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"{place}: is not writable; choose another one with {setting}=FOLDER")


@contextmanager
def removed_if_empty(folder: Path | None) -> Iterator[None]:
    """At the end, remove `folder` and its parents if they are new and empty."""
    missing = [] if folder is None else [folder, *folder.parents]
    missing = [path for path in missing if not path.exists()]
    try:
        yield
    finally:
        for path in missing:
            if not path.is_dir() or any(path.iterdir()):
                break
            path.rmdir()
