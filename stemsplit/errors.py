"""What a person gave wrong, said in one line."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


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
