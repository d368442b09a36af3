"""Report errors that a person can fix in one line."""

import errno
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from stemsplit.terminal.streams import flush, unfailing_output

DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
INTERRUPTED = 130  # the exit code that shells use for a program that Ctrl-C has ended


class InputError(ValueError):
    """A file or a setting cannot be used; the text says which, and what to do."""


@contextmanager
def settings_at_fault(group: str = "") -> Iterator[None]:
    """Raise `InputError` for whatever fails inside, because it fails by a setting (of `group`)."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        packed: BaseException | None = error
        while packed is not None:  # OmegaConf packs what a resolver says
            if isinstance(packed, InputError):
                raise packed from None
            packed = packed.__cause__ or packed.__context__
        text = " ".join(str(error).split())
        place = re.search(r" ?full_key: (\S+)( object_type=\S+)?$", text)  # Hydra's and OmegaConf's
        name = group
        if place is not None:
            text, name = text[: place.start()], place[1]
        what = f"{name}: cannot be used" if name else "a setting cannot be used"
        raise InputError(f"{what}: {text or type(error).__name__}") from error


@contextmanager
def one_line_errors(interrupted: Callable[[], str] = lambda: "interrupted") -> Iterator[None]:
    """Wrap an entry point, so that it ends with one line instead of a traceback.

    An `InputError`, a full disk and a file that cannot be used end it with exit code 1, Ctrl-C
    with 130 and the line that `interrupted` makes. Printing inside never fails, see `printing`.
    With HYDRA_FULL_ERROR=1 the traceback is shown.
    """
    with unfailing_output(), remembered_interrupts() as interrupts:
        try:
            yield
            flush()
        except BaseException as error:
            if isinstance(error, SystemExit) and error.code in (None, 0, INTERRUPTED):
                raise
            line: str | None
            if interrupts or isinstance(error, KeyboardInterrupt):
                line, code = interrupted(), INTERRUPTED
            else:
                line, code = one_line(error), 1
            if line is None:
                raise
            if os.environ.get("HYDRA_FULL_ERROR") == "1" and not isinstance(error, SystemExit):
                raise
            print(line if code == INTERRUPTED else f"error: {line}", file=sys.stderr)
            sys.exit(code)


@contextmanager
def remembered_interrupts() -> Iterator[list[int]]:
    """Note each Ctrl-C besides raising `KeyboardInterrupt`.

    A library may answer it with an error of its own: Lightning exits with code 1, and imports of
    torch go on without the module that was interrupted, which fails later.
    """
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        signal.default_int_handler(number, frame)

    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield noted
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def one_line(error: BaseException) -> str | None:
    """The line that tells a person of an error; None for an error of the program itself."""
    if isinstance(error, InputError):
        return str(error)
    if not isinstance(error, OSError):
        return None
    if error.errno in DISK_FULL:
        place = "" if error.filename is None else f"{error.filename}: "
        return f"{place}the disk is full ({error.strerror}): free some space"
    if error.filename is None:
        return None
    way_out = "; give yourself the permission" if isinstance(error, PermissionError) else ""
    return f"{error.filename}: {error.strerror}{way_out}"
