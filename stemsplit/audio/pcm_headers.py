"""Read the length that a WAV, RF64, Wave64 or CAF file declares.

FFmpeg does not report that a file was cut off, so `Timeline` compares the declared length with the
decoded length. The declared length comes from the header of the data chunk, because the length in
the header of the file is often wrong.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

# Programs that write WAV into a pipe declare one of these lengths, since they do not know the true
# length yet.
PIPED_LENGTHS = (range(1), range(0x7FFF0000, 0x80010000), range(0xFFFF0000, 0x100000000))


class ChunkLayout(NamedTuple):
    """How a format arranges its chunks.

    `file_head` is the number of bytes before the first chunk. `chunk_head` is the header of a
    chunk. `counts_itself` says whether the size of a chunk includes this header. Each chunk starts
    at a multiple of `alignment` bytes.
    """

    file_head: int
    chunk_head: struct.Struct
    counts_itself: bool
    alignment: int


CHUNK_LAYOUTS = {
    "wav": ChunkLayout(12, struct.Struct("<4sI"), False, 2),
    "w64": ChunkLayout(40, struct.Struct("<4s12xQ"), True, 8),
    "caf": ChunkLayout(8, struct.Struct(">4sq"), False, 1),
}


def declared_pcm_seconds(path: Path, container: str) -> float | None:
    """Return the declared length in seconds, or None if the file does not declare its length.

    `container` is FFmpeg's name of the format.
    """
    bytes_per_second = 0.0
    long_size = 0
    with path.open("rb") as file:
        for name, size in _chunks(file, CHUNK_LAYOUTS[container]):
            if name == b"ds64":  # 64-bit lengths of RF64 and BW64
                long_size = int.from_bytes(file.read(16)[8:], "little")
            elif name == b"fmt ":
                rate, _, block = struct.unpack("<4xIIH", file.read(14).ljust(14, b"\0"))
                bytes_per_second = rate * block
            elif name == b"desc":
                rate, block, samples = struct.unpack(">d8xII", file.read(24).ljust(24, b"\0"))
                bytes_per_second = rate * block / samples if samples else 0.0
            elif name == b"data":
                data = _data_bytes(container, size, long_size)
                return data / bytes_per_second if data and bytes_per_second else None
    return None


def _data_bytes(container: str, size: int, long_size: int) -> int:
    """The size of the data chunk, or 0 if the writer did not know the length."""
    if long_size:
        return long_size
    if container == "wav":
        return 0 if any(size in lengths for lengths in PIPED_LENGTHS) else size
    # In CAF, the chunk begins with a counter of 4 bytes.
    return size - 4 if container == "caf" and size > 0 else max(size, 0)


def _chunks(file: BinaryIO, layout: ChunkLayout) -> Iterator[tuple[bytes, int]]:
    """Yield name and size of each chunk, with the file positioned at the chunk's content."""
    start = layout.file_head
    head = layout.chunk_head
    while True:
        file.seek(start)
        if len(content := file.read(head.size)) < head.size:
            return
        name, size = head.unpack(content)
        size -= head.size if layout.counts_itself else 0
        yield name, size
        if size < 0:
            return
        start += head.size + size
        start += -start % layout.alignment
