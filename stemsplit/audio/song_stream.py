"""Decode a user's song block by block, in memory that does not depend on its length."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np

from stemsplit.audio.damage import damage_of
from stemsplit.audio.decoding import (
    bit_depth,
    check_finite,
    check_not_empty,
    decoded,
    opened,
    timelines_of,
)
from stemsplit.audio.forms import Samples
from stemsplit.audio.tags import tags_of

BLOCK = 2**16  # samples; a block is at least this long, except the last one


class SongStream:
    """The first audio stream of an open file. Iterate over it once to get all samples.

    The blocks `(channel, time)` hold the samples of `read_song`, bit for bit. Silence replaces
    audio that cannot be decoded. If the sample rate or the layout changes within the song, later
    samples are converted to the first rate and layout. Iteration raises `InputError` at the block
    that holds NaN or infinity.

    `layout` is FFmpeg's name of the channel layout, as in `forms.Audio`. `bit_depth` is "16", "24"
    or "32f"; see `decoding.bit_depth`. `declared_seconds` is the length that the file declares, or
    None if this length is unknown or only estimated. After the last block, `losses` has a line for
    each loss or change.
    """

    def __init__(self, path: Path, container: av.container.InputContainer) -> None:
        [self._timeline] = timelines_of(path, container, [0])
        stream = container.streams.audio[0]
        self._path = path
        self._container = container
        self._decoded: Generator[tuple[int, Samples], None, None] = decoded(
            path, container, {stream.index: self._timeline}, keep_padding=False
        )
        # The sample rate and the layout come from the first frame, not from the header.
        self._first = next(self._decoded, None)
        check_not_empty(path, stream.index, self._timeline)
        first = self._timeline.parts[0]
        self.sample_rate = first.rate
        self.channels = first.channels
        self.layout = first.layout
        self.bit_depth = bit_depth(stream)
        self.tags = tags_of(container, stream)
        declared = self._timeline.declared_seconds
        self.declared_seconds = None if declared is None else declared + self._timeline.late_seconds
        self.losses: list[str] = []

    def __iter__(self) -> Iterator[Samples]:
        start = 0
        for block in _joined(self._frames(), BLOCK):
            check_finite(self._path, block, self.sample_rate, start)
            start += block.shape[1]
            yield block
        self.losses, _ = damage_of(self._path, self._container, self._timeline)

    def _frames(self) -> Iterator[Samples]:
        if self._first is not None:
            yield self._first[1]
            self._first = None
        for _, samples in self._decoded:
            yield samples

    def close(self) -> None:
        self._decoded.close()


@contextmanager
def open_song(path: Path) -> Iterator[SongStream]:
    """Open a song; the file is closed at the end of the block.

    Raises `InputError` if the file is missing, holds no audio, or none of it can be decoded.
    """
    with opened(path) as container:
        song = SongStream(path, container)
        try:
            yield song
        finally:
            song.close()


def _joined(pieces: Iterator[Samples], time: int) -> Iterator[Samples]:
    """Join pieces to blocks of at least `time` samples; only the last block may be shorter."""
    waiting: list[Samples] = []
    waiting_time = 0
    for piece in pieces:
        waiting.append(piece)
        waiting_time += piece.shape[1]
        if waiting_time >= time:
            yield np.concatenate(waiting, axis=1)
            waiting, waiting_time = [], 0
    if waiting:
        yield np.concatenate(waiting, axis=1)
