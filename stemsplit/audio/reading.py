"""Decode whole audio files: strictly for a corpus, tolerantly for a user's song."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from stemsplit.audio.damage import damage_of
from stemsplit.audio.decoding import (
    check_finite,
    check_not_empty,
    decoded,
    fits_sixteen_bits,
    is_lossless,
    opened,
    timelines_of,
)
from stemsplit.audio.forms import Audio, Samples
from stemsplit.audio.timeline import Timeline
from stemsplit.errors import InputError

# Upper bounds on preallocation; the length in a header may be wrong.
MOST_SECONDS_AT_ONCE = 600.0
MOST_VALUES_AT_ONCE = 2**27


class Song(NamedTuple):
    """Decoded audio, and a line for each loss or change."""

    audio: Audio
    losses: list[str]


class Decoded(NamedTuple):
    """Decoded audio, and lines about its `losses` and `oddities`; see `damage.damage_of`."""

    audio: Audio
    losses: list[str]
    oddities: list[str]


def read(path: Path, stream: int = 0) -> Audio:
    """Decode one audio stream of a file; see `read_streams`."""
    return read_streams(path, [stream])[0]


def read_streams(path: Path, streams: Sequence[int]) -> list[Audio]:
    """Decode several audio streams of a file in one pass.

    AAC streams in MP4 files keep the padding of their last frame, as in musdb.

    Raises `InputError` if the file is missing, is not audio, is truncated or damaged, has too few
    streams, or holds NaN or infinity.
    """
    decoded_streams = _decode_file(path, streams, keep_padding=True)
    for stream in decoded_streams:
        if faults := stream.losses + stream.oddities:
            raise InputError(f"{path}: {'; '.join(faults)}; copy it again, or export it again")
    return [stream.audio for stream in decoded_streams]


def read_song(path: Path) -> Song:
    """Decode the first audio stream of a file as far as possible.

    Silence replaces audio that cannot be decoded, so that later audio keeps its position. The
    padding that an MP4 file states at the end of a stream is left out. Raises `InputError` if the
    file is missing, holds no audio, or holds NaN or infinity.
    `song_stream.open_song` yields the same samples block by block.
    """
    song = _decode_file(path, [0], keep_padding=False)[0]
    return Song(song.audio, song.losses)


def _decode_file(path: Path, numbers: Sequence[int], keep_padding: bool = False) -> list[Decoded]:
    with opened(path) as container:
        timelines = timelines_of(path, container, numbers)
        streams = [container.streams.audio[number] for number in numbers]
        by_index = {
            stream.index: timeline for stream, timeline in zip(streams, timelines, strict=True)
        }
        recordings = {index: _Recording(timeline) for index, timeline in by_index.items()}
        for index, block in decoded(path, container, by_index, keep_padding):
            recordings[index].add(block)
        return [
            _whole(path, container, stream, by_index[stream.index], recordings[stream.index])
            for stream in streams
        ]


def _whole(
    path: Path,
    container: av.container.InputContainer,
    stream: av.AudioStream,
    timeline: Timeline,
    recording: "_Recording",
) -> Decoded:
    check_not_empty(path, stream.index, timeline)
    audio = Audio(
        recording.samples,
        timeline.parts[0].rate,
        fits_sixteen_bits(stream),
        is_lossless(stream.codec_context.name),
        timeline.parts[0].layout,
    )
    check_finite(path, audio.samples, audio.sample_rate)
    losses, oddities = damage_of(path, container, timeline)
    return Decoded(audio, losses, oddities)


class _Recording:
    """The samples of one stream, in one growing buffer."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.buffer = np.empty((0, 0), np.float32)
        self.time = 0

    @property
    def samples(self) -> Samples:
        return self.buffer[:, : self.time]

    def add(self, block: Samples) -> None:
        start, end = self.time, self.time + block.shape[1]
        if end > self.buffer.shape[1]:
            capacity = max(end, 2 * start if start else self._expected(len(block)))
            longer = np.empty((len(block), capacity), np.float32)
            if start:
                longer[:, :start] = self.samples
            self.buffer = longer
        self.buffer[:, start:end] = block
        self.time = end

    def _expected(self, channels: int) -> int:
        """Return the number of samples that the file declares, within bounds."""
        seconds = self.timeline.late_seconds + (self.timeline.declared_seconds or 0.0)
        samples = round(min(seconds, MOST_SECONDS_AT_ONCE) * self.timeline.parts[0].rate)
        return min(samples, MOST_VALUES_AT_ONCE // channels)
