"""What a person gave wrong, said in one line."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

DISK_FULL = {errno.ENOSPC, errno.EDQUOT}


class InputError(ValueError):
    """Something that was given (a file, a setting) cannot be used; the text says what to do."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Around an entry point: an `InputError` ends the program with its text and exit code 1."""
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        print(f"error: the disk is full ({error}): free some room", file=sys.stderr)
        sys.exit(1)
