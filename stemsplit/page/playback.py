"""Read the stems of a job for the browser: in pieces for playback, or all as a ZIP archive."""

import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

PIECE_SECONDS = 2
BLOCK = 2**20  # bytes


class Playback(NamedTuple):
    """The format of a song and of its pieces, for the player in the browser.

    The song has `frames` samples per channel, and each piece has `piece_frames` of them.
    """

    sample_rate: int
    channels: int
    frames: int
    piece_frames: int


def playback(stem: Path) -> Playback:
    """Read the format of a song from one of its stems, because all stems have the same format."""
    info = soundfile.info(stem)
    return Playback(info.samplerate, info.channels, info.frames, PIECE_SECONDS * info.samplerate)


def piece(stems: Sequence[Path], number: int) -> bytes:
    """The samples of all stems in piece `number` of the song, as little-endian float32.

    The order of the axes is (stem, channel, time). Pieces are numbered from 0. A piece after the
    end of the song is empty.
    """
    samples = []
    for path in stems:
        with soundfile.SoundFile(path) as file:
            frames = PIECE_SECONDS * file.samplerate
            file.seek(min(number * frames, file.frames))
            samples.append(file.read(frames, dtype="float32", always_2d=True).T)
    return np.stack(samples).astype("<f4").tobytes()


def archive(files: Mapping[str, Path]) -> Iterator[bytes]:
    """Yield the bytes of a ZIP archive; `files` maps the name of each entry to its file.

    The entries are not compressed, since audio hardly shrinks. The archive is made while it is
    sent, so the complete archive is never in memory or on disk.
    """
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w") as archived:
        for name, path in files.items():
            entry = zipfile.ZipInfo.from_file(path, name)
            with archived.open(entry, "w", force_zip64=True) as output, path.open("rb") as file:
                while block := file.read(BLOCK):
                    output.write(block)
                    yield pipe.drain()
    yield pipe.drain()


class Pipe(io.RawIOBase):
    """A file that is only written; `drain` returns what was written since the last call."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        self.written += data
        return len(data)

    def drain(self) -> bytes:
        data = bytes(self.written)
        self.written.clear()
        return data
