"""Decode the files of a track to one array with one sample rate and number of channels."""

from enum import Enum
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int16

from stemsplit import audio
from stemsplit.data.store.activity import block_levels
from stemsplit.data.tracks import AudioSource, Track
from stemsplit.errors import InputError

PIECE = 65536  # samples rounded at a time; a piece fits into the processor's cache


class Depth(Enum):
    """Bit depth that is needed for all streams of a track."""

    SIXTEEN_BIT = 1  # all streams are lossy
    SIXTEEN_EXACT = 2  # some streams are lossless with 16 bits; int16 is exact if the scale is 1
    DEEPER = 3  # at least one stream has more than 16 bits


class Decoded(NamedTuple):
    """A decoded track.

    The first row of `samples` is the mixture, unless the mixture is the sum of the stems; the
    other rows are the stems in the track's order. In int16 samples, ±32768 stands for ±`scale`.
    `levels` holds the mean square of every block of each stem (see `activity`).
    """

    samples: Int16[np.ndarray, "row channel time"] | Float32[np.ndarray, "row channel time"]
    scale: float
    levels: Float32[np.ndarray, "stem block"]


def decode(track: Track, sample_rate: int, channels: int) -> Decoded:
    """Decode a track to int16 if all its sources are lossy or have 16 bits, else to float32.

    If a lossy source exceeds full scale, int16 needs a scale above 1. A lossless source would lose
    its last bit at this scale, so a track with both kinds of sources is decoded to float32.

    All streams get the length of the mixture, or of the longest stem if the track has no mixture:
    shorter streams are padded with silence, and longer streams are cut. Raises `InputError` if a
    file cannot be decoded or lacks a channel.
    """
    rows, depth = _read(track, sample_rate, channels)
    time = max(row.shape[1] for row in (rows if track.mixture is None else rows[:1]))
    stems = rows[len(rows) - len(track.stems) :]
    levels = np.stack([block_levels(stem[:, :time], time, sample_rate) for stem in stems])
    if depth is Depth.SIXTEEN_BIT or (depth is Depth.SIXTEEN_EXACT and _scale(rows) == 1):
        rounded, scale = _rounded(rows, channels, time)
        return Decoded(rounded, scale, levels)
    samples = np.zeros((len(rows), channels, time), np.float32)
    for output, row in zip(samples, rows, strict=True):
        output[:, : row.shape[1]] = row[:, :time]
    return Decoded(samples, 1.0, levels)


def _rounded(
    rows: list[np.ndarray], channels: int, time: int
) -> tuple[Int16[np.ndarray, "row channel time"], float]:
    scale = _scale(rows)
    samples = np.zeros((len(rows), channels, time), np.int16)
    for output, row in zip(samples, rows, strict=True):
        for start in range(0, min(time, row.shape[1]), PIECE):
            piece = row[:, start : min(start + PIECE, time)] * np.float32(32768 / scale)
            np.rint(piece, out=piece)
            output[:, start : start + piece.shape[1]] = piece.clip(-32768, 32767, out=piece)
    return samples, scale


def _scale(rows: list[np.ndarray]) -> float:
    """The smallest scale, at least 1, at which no sample clips. Lossy streams may exceed ±1."""
    highest = max(float(row.max(initial=0)) for row in rows)
    lowest = min(float(row.min(initial=0)) for row in rows)
    return max(1.0, highest * 32768 / 32767, -lowest)


def _read(track: Track, sample_rate: int, channels: int) -> tuple[list[np.ndarray], Depth]:
    """Samples of the mixture (if the track has one) and of the stems, and their bit depth."""
    sources = [*([track.mixture] if track.mixture else []), *track.stems.values()]
    streams_of_file: dict[Path, set[int]] = {}
    for source in sources:
        if source is not None:
            streams_of_file.setdefault(source.path, set()).add(source.stream)
    decoded_streams = {
        (path, stream): decoded
        for path, streams in streams_of_file.items()
        for stream, decoded in zip(
            sorted(streams), audio.read_streams(path, sorted(streams)), strict=True
        )
    }
    silence = np.zeros((channels, 0), np.float32)
    rows = [
        silence
        if source is None
        else _converted(decoded_streams[source.path, source.stream], source, sample_rate, channels)
        for source in sources
    ]
    if not all(decoded.sixteen_bit for decoded in decoded_streams.values()):
        return rows, Depth.DEEPER
    exact = any(decoded.lossless for decoded in decoded_streams.values())
    return rows, Depth.SIXTEEN_EXACT if exact else Depth.SIXTEEN_BIT


def _converted(
    decoded: audio.Audio, source: AudioSource, sample_rate: int, channels: int
) -> np.ndarray:
    samples = decoded.samples
    if source.channel is not None:
        if source.channel >= len(samples):
            raise InputError(
                f"{source.path}: has {len(samples)} channel(s), but {source.channel + 1} are needed"
            )
        samples = samples[[source.channel]]
    try:
        samples = audio.with_channels(samples, channels)
    except InputError as error:
        raise InputError(f"{source.path}: {error}") from None
    return audio.resample(samples, decoded.sample_rate, sample_rate)
