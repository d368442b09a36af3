"""Write files atomically, and lock folders against other processes."""

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

from filelock import BaseFileLock, FileLock, Timeout

from stemsplit.errors import InputError

READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
LONGEST_NAME = 255  # bytes; the limit of almost every file system
LOCK = ".lock"  # name of the file that locks its folder
PROBE = b"\0" * 2**20  # bytes that test whether the disk is full


@contextmanager
def where_writable() -> Iterator[None]:
    """Ignore write errors in read-only folders. Use it for files that are not essential."""
    try:
        yield
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise


def make_writable_folder(folder: Path, way_out: str = "choose another folder") -> None:
    """Make a folder; raise `InputError` if files cannot be written to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{folder}: is not writable ({error.strerror}); {way_out}") from None


def file_name(name: str, suffix: str = "", longest: int = LONGEST_NAME) -> str:
    """Join `name` and `suffix`; if the result is too long, shorten `name` and add its digest.

    The returned name has at most `longest` bytes.
    """
    encoded = name.encode("utf-8", "surrogateescape")
    room = longest - len(suffix.encode())
    if len(encoded) <= room:
        return name + suffix
    digest = hashlib.blake2b(encoded, digest_size=8).hexdigest()
    shortened = encoded[: room - len(digest) - 1].decode("utf-8", "ignore")
    return f"{shortened}-{digest}{suffix}"


def is_same_file(first: Path, second: Path) -> bool:
    """Whether two paths are the same file, even if they are spelled differently or are links.

    The files need not exist.
    """
    if os.path.realpath(first) == os.path.realpath(second):
        return True
    return first.exists() and second.exists() and first.samefile(second)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path; when the block succeeds, rename it to `path`.

    Raises `OSError` if the disk is full or the folder is not writable. The error names `path`, not
    the temporary path. If the disk is full, this `OSError` replaces any other error of the block.
    """
    with replacing_together() as partial:
        yield partial(path)


@contextmanager
def replacing_together() -> Iterator[Callable[[Path], Path]]:
    """Write several files; rename all of them when the block succeeds.

    Yields a function that maps a path to the temporary path that the caller writes. The temporary
    file is in the same folder. Its name is random, because the name of `path` with a suffix could
    be too long.
    """
    partials: dict[Path, Path] = {}

    def partial(path: Path) -> Path:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if path.exists() and not path.is_file():  # renaming would replace the device with a file
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
                for temporary in reversed(partials.values()):
                    _raise_if_full(temporary, error)
                raise
            for temporary in partials.values():
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
            for path, temporary in partials.items():
                os.replace(temporary, path)
        except OSError as error:
            names = {str(temporary): str(path) for path, temporary in partials.items()}
            if error.errno and error.filename is None and len(names) == 1:
                (error.filename,) = names.values()
            elif str(error.filename) in names:
                error.filename = names[str(error.filename)]
            raise
        finally:
            for temporary in partials.values():
                temporary.unlink(missing_ok=True)


@contextmanager
def exit_at_sigterm() -> Iterator[None]:
    """Raise `SystemExit` at SIGTERM inside the block, so that temporary files are removed.

    If the program already handles SIGTERM, its handler is kept. Lightning, for example, installs a
    handler during training.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def default_sigterm() -> Iterator[None]:
    """Undo `exit_at_sigterm` inside the block, so that a library can install its own handler."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def _raise_if_full(partial: Path, cause: Exception) -> None:
    """Raise the `OSError` of the operating system if a file cannot grow.

    torch and libsndfile report a full disk with their own errors, which lack the reason.
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


def acquire(lock: BaseFileLock, message: str) -> None:
    """Acquire a lock; if another process holds it, print the message and wait."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(message, file=sys.stderr)
        lock.acquire()


@contextmanager
def one_at_a_time(folder: Path, activity: str) -> Iterator[None]:
    """Lock a folder: only one process at a time runs the block; the others wait.

    A waiting process prints the `activity` of the running process, such as "decodes songs". The
    lock of a killed process is released. If the folder is read-only or its file system has no
    locks, the block runs without a lock.
    """
    lock = FileLock(folder / LOCK)
    with suppress(OSError, NotImplementedError):
        folder.mkdir(parents=True, exist_ok=True)
        acquire(lock, f"{folder}: waiting for another process, which {activity}")
    try:
        yield
    finally:
        lock.release()


def lock_of(folder: Path) -> FileLock:
    """The lock of a folder; the process that has acquired it can acquire it again."""
    return FileLock(folder / LOCK, is_singleton=True)


@contextmanager
def held(folder: Path, activity: str) -> Iterator[None]:
    """Lock a folder while the block runs, unless it is read-only or its file system has no locks.

    Raises `InputError` if another process holds the folder; `activity` is what this process does,
    such as "trains this run". The process itself may hold the folder several times. The lock of a
    killed process is released.
    """
    lock = lock_of(folder)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"{folder}: another process {activity}; stop it, or wait until it has ended"
        ) from None
    except (OSError, NotImplementedError):
        pass
    try:
        yield
    finally:
        lock.release()


def check_writable(folder: Path, setting: str) -> None:
    """Raise `InputError` if a folder cannot be made or is not writable.

    The message tells the user to choose another folder with `setting`.
    """
    parents = (folder, *folder.absolute().parents)
    existing = next(path for path in parents if os.path.lexists(path))
    if not existing.is_dir():
        raise InputError(f"{existing}: is not a folder; choose another one with {setting}=FOLDER")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"{existing}: is not writable; choose another one with {setting}=FOLDER")


@contextmanager
def removed_if_empty(folder: Path | None) -> Iterator[None]:
    """When the block ends, remove `folder` and its parents if the block made them and left no file.

    If `folder` is None, nothing is removed.
    """
    missing = [] if folder is None else [folder, *folder.parents]
    missing = [path for path in missing if not path.exists()]
    try:
        yield
    finally:
        for path in missing:
            if not path.is_dir() or any(path.iterdir()):
                break
            path.rmdir()
