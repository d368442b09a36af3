"""What a person gave wrong, said in one line."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


class InputError(ValueError):
    """Something that was given (a file, a setting) cannot be used; the text says what to do."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Around an entry point: what was given wrong ends the program with a line and exit code 1.

    That is an `InputError`, a full disk, or a file that cannot be used. With HYDRA_FULL_ERROR=1
    the whole trace is shown.
    """
    try:
        yield
    except (InputError, OSError) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        if isinstance(error, InputError):
            line = str(error)
        elif error.errno in DISK_FULL:
            line = f"the disk is full ({error}): free some room"
        elif error.filename is not None:
            line = f"{error.filename}: {error.strerror}"
        else:
            raise
        print(f"error: {line}", file=sys.stderr)
        sys.exit(1)
