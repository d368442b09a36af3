"""Decode audio files: strictly for a corpus, tolerantly for a user's song."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import av
import numpy as np

from stemsplit.audio.damage import damage_of
from stemsplit.audio.forms import Audio
from stemsplit.audio.lengths import (
    clock_of,
    declared_seconds,
    slack_seconds,
)
from stemsplit.audio.timeline import Timeline
from stemsplit.errors import InputError


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

    Raises `InputError` if the file is missing, is not audio, is truncated or damaged, has too few
    streams, or holds NaN or infinity.
    """
    decoded = _decode_file(path, streams)
    for stream in decoded:
        if faults := stream.losses + stream.oddities:
            raise InputError(f"{path}: {'; '.join(faults)}; copy it again, or export it again")
    return [stream.audio for stream in decoded]


def read_song(path: Path) -> Song:
    """Decode the first audio stream of a file as far as possible.

    Silence replaces audio that cannot be decoded, so that later audio keeps its position. Raises
    `InputError` if the file is missing, holds no audio, or holds NaN or infinity.
    """
    decoded = _decode_file(path, [0])[0]
    return Song(decoded.audio, decoded.losses)


def _decode_file(path: Path, streams: Sequence[int]) -> list[Decoded]:
    try:
        with av.open(f"file:{path}", metadata_errors="replace") as container:
            return _decode(path, container, streams)
    except FileNotFoundError:
        raise InputError(f"{path}: does not exist") from None
    except PermissionError:
        raise InputError(f"{path}: no permission to read it; change its permissions") from None
    except (av.FFmpegError, OSError) as error:
        if path.is_file() and not path.stat().st_size:
            raise InputError(f"{path}: is an empty file; copy it again, or remove it") from None
        raise InputError(
            f"{path}: cannot be decoded ({error.strerror or error}); "
            "it is damaged or not audio: copy it again, or remove it"
        ) from None


def _decode(
    path: Path, container: av.container.InputContainer, numbers: Sequence[int]
) -> list[Decoded]:
    present = container.streams.audio
    if not present:
        raise InputError(f"{path}: holds no audio")
    if (needed := max(numbers) + 1) > len(present):
        raise InputError(f"{path}: has {len(present)} audio streams, but {needed} are needed")
    streams = {present[number].index: present[number] for number in numbers}
    timelines = {index: _timeline(path, container, stream) for index, stream in streams.items()}
    ends_early = _fill(timelines, container, list(streams.values()))
    return [
        _decoded(path, container, stream, timelines[index], ends_early)
        for index, stream in streams.items()
    ]


def _timeline(
    path: Path, container: av.container.InputContainer, stream: av.AudioStream
) -> Timeline:
    if is_lossless(stream.codec_context.name):
        # Without these options the decoder ignores a wrong checksum.
        stream.codec_context.options = {"err_detect": "crccheck+explode"}
    return Timeline(
        clock_of(container, stream),
        declared_seconds(path, container, stream),
        is_lossless(stream.codec_context.name),
        slack_seconds(container),
    )


def _fill(
    timelines: dict[int, Timeline],
    container: av.container.InputContainer,
    streams: Sequence[av.AudioStream],
) -> bool:
    """Decode all packets into their timelines; return True if the file ends early."""
    packets = container.demux(list(streams))
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            return True
        if packet is None:
            return False
        timeline = timelines[packet.stream.index]
        try:
            frames = cast(list[av.AudioFrame], packet.decode())
        except av.FFmpegError:
            timeline.fail(bytes(packet))
            continue
        for frame in frames:
            timeline.add(frame)


def _decoded(
    path: Path,
    container: av.container.InputContainer,
    stream: av.AudioStream,
    timeline: Timeline,
    ends_early: bool,
) -> Decoded:
    if not timeline.parts:
        raise InputError(
            f"{path}: audio stream {stream.index} is empty, or none of it can be decoded; "
            "copy the file again"
        )
    audio = Audio(
        timeline.samples(),
        timeline.parts[0].rate,
        fits_sixteen_bits(stream),
        is_lossless(stream.codec_context.name),
        timeline.parts[0].layout,
    )
    _check_finite(path, audio)
    losses, oddities = damage_of(path, container, timeline, ends_early)
    return Decoded(audio, losses, oddities)


def _check_finite(path: Path, audio: Audio) -> None:
    finite = np.isfinite(audio.samples).all(axis=0)
    if not finite.all():
        first = np.argmin(finite) / audio.sample_rate
        raise InputError(
            f"{path}: {np.count_nonzero(~finite)} samples are not finite (NaN or infinity), the "
            f"first at {first:.2f} s; export the file again, or remove it"
        )


def fits_sixteen_bits(stream: av.AudioStream) -> bool:
    """Whether 16 bits per sample suffice: the stream is lossy or has at most 16 bits itself."""
    context = stream.codec_context
    return not is_lossless(context.name) or context.format.name in {"u8", "u8p", "s16", "s16p"}


def is_lossless(codec: str) -> bool:
    return codec.startswith(("pcm_", "flac", "alac", "wavpack", "tta"))
