"""Decode audio files: every sample of a corpus, or all that can be decoded of a person's song."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import av
import numpy as np

from stemsplit.audio.forms import Audio
from stemsplit.audio.lengths import (
    clock_of,
    declared_seconds,
    lacks_its_last_page,
    slack_seconds,
)
from stemsplit.audio.timeline import Timeline
from stemsplit.errors import InputError

MOST_PLACES = 3  # gaps that are listed one by one


class Song(NamedTuple):
    """What could be decoded, and a line for each thing that was lost or changed."""

    audio: Audio
    losses: list[str]


class Decoded(NamedTuple):
    """`oddities` lose nothing, but a corpus must not have them."""

    audio: Audio
    losses: list[str]
    oddities: list[str]


def read(path: Path, stream: int = 0) -> Audio:
    """One audio stream of a file; raises `InputError` where any of it is missing."""
    return read_streams(path, [stream])[0]


def read_streams(path: Path, streams: Sequence[int]) -> list[Audio]:
    """Several audio streams of a file, decoded in one pass.

    Raises `InputError` where the file is missing, not audio, cut short, damaged, holds fewer
    streams, or where a sample is not a number.
    """
    decoded = _decode_file(path, streams)
    for stream in decoded:
        if faults := stream.losses + stream.oddities:
            raise InputError(f"{path}: {'; '.join(faults)}; copy it anew, or export it again")
    return [stream.audio for stream in decoded]


def read_song(path: Path) -> Song:
    """The first audio stream of a file, as far as it can be decoded.

    What cannot be decoded is silent, so that nothing after it moves. Raises `InputError` where the
    file is missing, holds no audio, or where a sample is not a number.
    """
    decoded = _decode_file(path, [0])[0]
    return Song(decoded.audio, decoded.losses)


def _decode_file(path: Path, streams: Sequence[int]) -> list[Decoded]:
    try:
        with av.open(f"file:{path}", metadata_errors="replace") as container:
            return _decode(path, container, streams)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except PermissionError:
        raise InputError(f"{path}: may not be read; ask its owner for permission") from None
    except (av.FFmpegError, OSError) as error:
        raise InputError(
            f"{path}: cannot be decoded ({error.strerror or error}); "
            "it is damaged or not audio: copy it anew, or remove it"
        ) from None


def _decode(
    path: Path, container: av.container.InputContainer, wanted: Sequence[int]
) -> list[Decoded]:
    present = container.streams.audio
    if not present:
        raise InputError(f"{path}: holds no audio")
    if max(wanted) >= len(present):
        raise InputError(f"{path}: has {len(present)} audio streams, {max(wanted) + 1} are needed")
    streams = {present[index].index: present[index] for index in wanted}
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
        # Without this the decoder ignores a wrong checksum.
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
    """Decode all packets; say whether the file cannot be read to its end."""
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
            "copy the file anew"
        )
    audio = Audio(
        timeline.samples(),
        timeline.parts[0].rate,
        fits_sixteen_bits(stream),
        is_lossless(stream.codec_context.name),
        timeline.parts[0].layout,
    )
    _check_finite(path, audio)
    return Decoded(audio, *_damage(path, container, timeline, ends_early))


def _damage(
    path: Path, container: av.container.InputContainer, timeline: Timeline, ends_early: bool
) -> tuple[list[str], list[str]]:
    """What was lost, and what only a corpus must not have."""
    losses: list[str] = []
    oddities: list[str] = []
    if timeline.gaps:
        losses.append(_gaps_text(timeline))
    is_cut = container.format.name == "ogg" and lacks_its_last_page(path)
    if (missing := timeline.missing_seconds()) and not is_cut:
        end, declared = timeline.seconds, timeline.seconds + missing
        losses.append(
            f"it is truncated: it ends after {end:.2f} s of the {declared:.2f} s that it declares"
        )
    elif is_cut:
        losses.append(f"it is cut off after {timeline.seconds:.2f} s: its last page is missing")
    elif ends_early:
        losses.append(f"it cannot be read beyond {timeline.seconds:.2f} s")
    if failed := timeline.failed:
        text = f"{_count(len(failed), 'packet')} cannot be decoded, the first at {failed[0]:.2f} s"
        told = losses or timeline.declared_seconds is not None
        (oddities if told else losses).append(text)
    first, *others = [f"{rate} Hz {layout}" for rate, layout in timeline.forms()]
    if others:
        losses.append(f"it changes from {first} to {', '.join(others)}: it is converted to {first}")
    if timeline.joints:
        end = timeline.joints[0]
        losses.append(f"several files are joined in it; the first ends at {end:.2f} s")
    if timeline.ends_in_padding:
        oddities.append("a tag or padding follows its last frame")
    return losses, oddities


def _gaps_text(timeline: Timeline) -> str:
    gaps = timeline.gaps
    total = sum(gap.seconds for gap in gaps)
    samples = sum(round(gap.seconds * timeline.parts[0].rate) for gap in gaps)
    places = ", ".join(f"{gap.at_seconds:.2f} s" for gap in gaps[:MOST_PLACES])
    more = f" and {len(gaps) - MOST_PLACES} more places" if len(gaps) > MOST_PLACES else ""
    return f"{total:.3f} s ({samples:,} samples) are missing at {places}{more}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _check_finite(path: Path, audio: Audio) -> None:
    finite = np.isfinite(audio.samples).all(axis=0)
    if not finite.all():
        first = np.argmin(finite) / audio.sample_rate
        raise InputError(
            f"{path}: {np.count_nonzero(~finite)} samples are not finite numbers, the first at "
            f"{first:.2f} s; export the file again, or remove it"
        )


def fits_sixteen_bits(stream: av.AudioStream) -> bool:
    """Whether int16 keeps all that the source has: it is lossy, or 16-bit itself."""
    context = stream.codec_context
    return not is_lossless(context.name) or context.format.name in {"u8", "u8p", "s16", "s16p"}


def is_lossless(codec: str) -> bool:
    return codec.startswith(("pcm_", "flac", "alac", "wavpack", "tta"))
