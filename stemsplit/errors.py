"""Print errors that the user can fix as one line, without a traceback."""

import errno
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from stemsplit.terminal.controls import harmless
from stemsplit.terminal.streams import flush, unfailing_output

DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
INTERRUPTED = 130  # exit code that shells report for a program ended by Ctrl-C


class InputError(ValueError):
    """Error in a file or a setting; the message names it and says how to fix it."""


class Cancelled(Exception):  # noqa: N818
    """A separation was cancelled, for example because the `progress` function returned False."""


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turn a failed import into an `InputError` that says how to install the package.

    `extra` is the group of stemsplit's optional dependencies that contains the package.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed; run pip install --editable '.[{extra}]' in the folder "
            "of stemsplit's repository"
        ) from None


@contextmanager
def settings_at_fault(group: str = "") -> Iterator[None]:
    """Turn every error of the block into an `InputError` that names the setting or `group`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:  # OmegaConf wraps the errors of resolvers
            if isinstance(cause, InputError):
                raise cause from None
            cause = cause.__cause__ or cause.__context__
        text = " ".join(str(error).split())
        # Hydra and OmegaConf append the name of the setting to their messages.
        suffix = re.search(r" ?full_key: (\S+)( object_type=\S+)?$", text)
        name = group
        if suffix is not None:
            text, name = text[: suffix.start()], suffix[1]
        summary = f"{name}: cannot be used" if name else "a setting cannot be used"
        raise InputError(f"{summary}: {text or type(error).__name__}") from error


@contextmanager
def one_line_errors(interrupted: Callable[[], str] = lambda: "interrupted") -> Iterator[None]:
    """End a failed command with one line instead of a traceback.

    An `InputError`, too little memory, a full disk or an unusable file end the command with exit
    code 1. Ctrl-C ends it with exit code 130 and prints the text that `interrupted` returns. Other
    errors are bugs, and keep their traceback. Printing inside the block never fails (see
    `unfailing_output`). Set HYDRA_FULL_ERROR=1 to see the traceback of every error.
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
            line = harmless(line)  # it may contain untrusted text, such as the name of a file
            print(line if code == INTERRUPTED else f"error: {line}", file=sys.stderr)
            sys.exit(code)


@contextmanager
def remembered_interrupts() -> Iterator[list[int]]:
    """Yield a list that gets an entry for each Ctrl-C; `KeyboardInterrupt` is raised as usual.

    Some libraries hide the `KeyboardInterrupt`; the list still shows that the user pressed Ctrl-C.
    Lightning exits with code 1 instead. torch skips the import that was interrupted, which causes
    another error later.
    """
    interrupts: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        interrupts.append(number)
        signal.default_int_handler(number, frame)

    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield interrupts
        return
    signal.signal(signal.SIGINT, remember)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def one_line(error: BaseException) -> str | None:
    """Return the message to print for an error, or None if the error is a bug in the program."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, MemoryError):
        return "out of memory; close other programs, or use a smaller file or model"
    if not isinstance(error, OSError):
        return None
    if error.errno in DISK_FULL:
        path = "" if error.filename is None else f"{error.filename}: "
        return f"{path}the disk is full ({error.strerror}): free some space"
    if error.filename is None:
        return None
    advice = "; change its permissions" if isinstance(error, PermissionError) else ""
    return f"{error.filename}: {error.strerror}{advice}"
