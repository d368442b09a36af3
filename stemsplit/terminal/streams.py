"""Print without errors when a pipe is closed or the encoding lacks a character."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# EPIPE: the reader closed the pipe, as in `command | head -1`. EIO: the terminal was closed.
READER_GONE = {errno.EPIPE, errno.EIO}


@contextmanager
def unfailing_output() -> Iterator[None]:
    """Let the program continue when printing fails inside the block.

    A character becomes "?" if the encoding of stdout or stderr lacks it. When the reader of the
    output has gone, the rest of the output is dropped. A full disk still raises an error.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (unfailing(stream) for stream in before)
    try:
        yield
    finally:
        try:
            flush()  # needed even if the block raises SystemExit, as `--help` does
        finally:
            sys.stdout, sys.stderr = before


def flush() -> None:
    """Write all buffered output now, so that errors do not occur at interpreter exit."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # None if the shell closed it with `>&-`
            stream.flush()


def unfailing(stream: Any) -> Any:
    """Wrap a text stream in `Unfailing`, and replace characters that its encoding lacks."""
    if stream is None or isinstance(stream, Unfailing):
        return stream
    if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")
    return Unfailing(stream)


class Unfailing:
    """A text stream that drops output after its reader has gone."""

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
            # Send buffered output to /dev/null too, so that the interpreter exits without an error.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.stream.fileno())
            os.close(null)
            if error.errno not in READER_GONE:
                raise
