"""Print without failing on a closed pipe or on an encoding that lacks characters."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# `command | head -1` has closed the pipe; the terminal of the command has gone.
NOBODY_READS = {errno.EPIPE, errno.EIO}


@contextmanager
def unfailing_output() -> Iterator[None]:
    """Inside, printing never ends the program.

    Characters that the encoding of stdout or stderr lacks are replaced. When nobody reads the
    output any more, the program goes on and its output is dropped. A full disk is still an error.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (unfailing(stream) for stream in before)
    try:
        yield
    finally:
        try:
            flush()  # also before an exit, as of `--help`
        finally:
            sys.stdout, sys.stderr = before


def flush() -> None:
    """Write what is still buffered; what fails there would fail when the interpreter ends."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # as with `>&-`
            stream.flush()


def unfailing(stream: Any) -> Any:
    if stream is None or isinstance(stream, Unfailing):
        return stream
    if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")
    return Unfailing(stream)


class Unfailing:
    """A text stream that drops its output once nobody reads it."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        with self._dropping():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._dropping():
            self.stream.flush()

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # What is buffered goes there too, so that the interpreter can end without an error.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)
            if error.errno not in NOBODY_READS:
                raise
