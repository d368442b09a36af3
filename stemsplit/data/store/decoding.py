"""Decode the files of a track to one array, with one sample rate and number of channels."""

from enum import Enum
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int16

from stemsplit import audio
from stemsplit.data.store.activity import block_levels
from stemsplit.data.tracks import AudioSource, Track
from stemsplit.errors import InputError

PIECE = 65536  # samples that are rounded at a time, so that they stay in the processor's cache


class Depth(Enum):
    """What holds all of a track's streams: 16 bits, at a scale of 1 where some are lossless."""

    SIXTEEN_BIT = 1
    SIXTEEN_EXACT = 2
    DEEPER = 3


class Decoded(NamedTuple):
    """The mixture, unless it is the sum of the stems, and the stems, in the track's order.

    Of 16-bit integers, ±32768 stand for ±`scale`. `levels` are those of the stems' blocks.
    """

    samples: Int16[np.ndarray, "row channel time"] | Float32[np.ndarray, "row channel time"]
    scale: float
    levels: Float32[np.ndarray, "stem block"]


def decode(track: Track, sample_rate: int, channels: int) -> Decoded:
    """Sixteen-bit integers where all sources are lossy or of 16 bits themselves, else float32.

    (Float32 too where a lossy one that overshoots would take a lossless one's last bit.) A stream
    that ends before the mixture is silent from there on; one that is longer is cut.
    """
    rows, depth = _read(track, sample_rate, channels)
    time = max(row.shape[1] for row in (rows if track.mixture is None else rows[:1]))
    stems = rows[len(rows) - len(track.stems) :]
    levels = np.stack([block_levels(stem[:, :time], time, sample_rate) for stem in stems])
    if depth is Depth.SIXTEEN_BIT or (depth is Depth.SIXTEEN_EXACT and _scale(rows) == 1):
        rounded, scale = _rounded(rows, channels, time)
        return Decoded(rounded, scale, levels)
    samples = np.zeros((len(rows), channels, time), np.float32)
    for kept, row in zip(samples, rows, strict=True):
        kept[:, : row.shape[1]] = row[:, :time]
    return Decoded(samples, 1.0, levels)


def _rounded(
    rows: list[np.ndarray], channels: int, time: int
) -> tuple[Int16[np.ndarray, "row channel time"], float]:
    scale = _scale(rows)
    samples = np.zeros((len(rows), channels, time), np.int16)
    for kept, row in zip(samples, rows, strict=True):
        for start in range(0, min(time, row.shape[1]), PIECE):
            piece = row[:, start : min(start + PIECE, time)] * np.float32(32768 / scale)
            np.rint(piece, out=piece)
            kept[:, start : start + piece.shape[1]] = piece.clip(-32768, 32767, out=piece)
    return samples, scale


def _scale(rows: list[np.ndarray]) -> float:
    """A coded stream may overshoot full scale; it is kept whole, not clipped."""
    highest = max(float(row.max(initial=0)) for row in rows)
    lowest = min(float(row.min(initial=0)) for row in rows)
    return max(1.0, highest * 32768 / 32767, -lowest)


def _read(track: Track, sample_rate: int, channels: int) -> tuple[list[np.ndarray], Depth]:
    """The mixture, if there is one, and the stems."""
    sources = [*([track.mixture] if track.mixture else []), *track.stems.values()]
    wanted: dict[Path, set[int]] = {}
    for source in sources:
        if source is not None:
            wanted.setdefault(source.path, set()).add(source.stream)
    found = {
        (path, stream): decoded
        for path, streams in wanted.items()
        for stream, decoded in zip(
            sorted(streams), audio.read_streams(path, sorted(streams)), strict=True
        )
    }
    silence = np.zeros((channels, 0), np.float32)
    rows = [
        silence
        if source is None
        else _converted(found[source.path, source.stream], source, sample_rate, channels)
        for source in sources
    ]
    if not all(decoded.sixteen_bit for decoded in found.values()):
        return rows, Depth.DEEPER
    exact = any(decoded.lossless for decoded in found.values())
    return rows, Depth.SIXTEEN_EXACT if exact else Depth.SIXTEEN_BIT


def _converted(
    found: audio.Audio, source: AudioSource, sample_rate: int, channels: int
) -> np.ndarray:
    samples = found.samples
    if source.channel is not None:
        if source.channel >= len(samples):
            raise InputError(
                f"{source.path}: has {len(samples)} channel(s), {source.channel + 1} are needed"
            )
        samples = samples[[source.channel]]
    try:
        samples = audio.with_channels(samples, channels)
    except InputError as error:
        raise InputError(f"{source.path}: {error}") from None
    return audio.resample(samples, found.sample_rate, sample_rate)
