"""Add a box to an MP4 file."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

HEAD = struct.Struct(">I4s")


class Box(NamedTuple):
    """A box: its name, and the positions of its header, its content and its end in the file."""

    name: bytes
    start: int
    content: int
    end: int


def add_user_data(path: Path, name: bytes, content: bytes) -> None:
    """Add the box moov/udta/`name` to an MP4 file whose last box is moov, as in FFmpeg's files.

    Only the box moov, which follows the audio, is written again, so the offsets of the audio in
    the file stay valid. Raises `ValueError` if moov is not the last box.
    """
    with path.open("r+b") as file:
        size = file.seek(0, 2)
        *_, moov = _boxes(file, 0, size)
        if moov.name != b"moov":
            raise ValueError(f"the last box of {path} is {moov.name!r}, not moov")
        parts = list(_boxes(file, moov.content, moov.end))
        others = b"".join(_bytes(file, box.start, box.end) for box in parts if box.name != b"udta")
        present = b"".join(
            _bytes(file, box.content, box.end) for box in parts if box.name == b"udta"
        )
        user_data = _box(b"udta", present + _box(name, content))
        file.seek(moov.start)
        file.write(_box(b"moov", others + user_data))


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[Box]:
    while start + HEAD.size <= end:
        size, name = HEAD.unpack(_bytes(file, start, start + HEAD.size))
        content = start + HEAD.size
        if size == 1:  # a 64-bit size follows
            size = int.from_bytes(_bytes(file, content, content + 8), "big")
            content += 8
        elif size == 0:
            size = end - start
        if start + size < content:  # a damaged size would repeat the same box for ever
            return
        yield Box(name, start, content, min(start + size, end))
        start += size


def _bytes(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)


def _box(name: bytes, content: bytes) -> bytes:
    return HEAD.pack(HEAD.size + len(content), name) + content
