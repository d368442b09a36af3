"""Errors that a person can mend, said in one line."""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stemsplit.printing import flush, unfailing_output

DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
INTERRUPTED = 130  # the exit code that shells use for a program that Ctrl-C has ended


class InputError(ValueError):
    """A file or a setting cannot be used; the text says which, and what to do."""


@contextmanager
def one_line_errors(interrupted: Callable[[], str] = lambda: "interrupted") -> Iterator[None]:
    """Wrap an entry point, so that it ends with one line instead of a traceback.

    An `InputError`, a full disk and a file that cannot be used end it with exit code 1, Ctrl-C
    with 130 and the line that `interrupted` makes. Printing inside never fails, see `printing`.
    With HYDRA_FULL_ERROR=1 the traceback is shown.
    """
    with unfailing_output():
        try:
            yield
            flush()
        except KeyboardInterrupt:
            if os.environ.get("HYDRA_FULL_ERROR") == "1":
                raise
            print(interrupted(), file=sys.stderr)
            sys.exit(INTERRUPTED)
        except (InputError, OSError) as error:
            if os.environ.get("HYDRA_FULL_ERROR") == "1" or (line := one_line(error)) is None:
                raise
            print(f"error: {line}", file=sys.stderr)
            sys.exit(1)


def one_line(error: BaseException) -> str | None:
    """The line that tells a person of an error; None for an error of the program itself."""
    if isinstance(error, InputError):
        return str(error)
    if not isinstance(error, OSError):
        return None
    if error.errno in DISK_FULL:
        place = "" if error.filename is None else f"{error.filename}: "
        return f"{place}the disk is full ({error.strerror}): free some room"
    return None if error.filename is None else f"{error.filename}: {error.strerror}"
