"""Decode the audio streams of a file block by block."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import av
import numpy as np

from stemsplit.audio.forms import Samples
from stemsplit.audio.lengths import MP4, clock_of, declared_seconds, slack_seconds
from stemsplit.audio.timeline import Timeline
from stemsplit.errors import InputError
from stemsplit.terminal.counts import counted

# FFmpeg's other formats include playlists. FFmpeg would open the files that a playlist names, so
# the other formats are refused.
CONTAINERS = (
    *("aac", "ac3", "aiff", "amr", "ape", "asf", "au", "avi", "caf", "dsf", "dts", "eac3", "flac"),
    *("flv", "iff", "matroska", "mov", "mp3", "mpc", "mpc8", "mpeg", "mpegts", "ogg", "oma", "rm"),
    *("tak", "tta", "voc", "w64", "wav", "wv"),
)


def open_container(path: Path) -> av.container.InputContainer:
    """Open a file with FFmpeg; files that refer to other files count as damaged."""
    only_known = {"format_whitelist": ",".join(CONTAINERS)}
    return av.open(f"file:{path}", options=only_known, metadata_errors="replace")


@contextmanager
def opened(path: Path) -> Iterator[av.container.InputContainer]:
    """Open a file for decoding. Raises `InputError` if it is missing, unreadable or not audio."""
    with _readable(path):
        container = open_container(path)
    with container:
        yield container


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn errors of the operating system and of FFmpeg into an `InputError`."""
    try:
        yield
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


def timelines_of(
    path: Path, container: av.container.InputContainer, numbers: Sequence[int]
) -> list[Timeline]:
    """Return an empty timeline for each of the `numbers`, which count the audio streams from 0.

    Raises `InputError` if there are too few streams.
    """
    present = container.streams.audio
    if not present:
        raise InputError(f"{path}: holds no audio")
    if (needed := max(numbers) + 1) > len(present):
        raise InputError(f"{path}: has {len(present)} audio streams, but {needed} are needed")
    return [_timeline(path, container, present[number]) for number in numbers]


def check_codec(path: Path, stream: av.AudioStream) -> None:
    """Raise `InputError` if FFmpeg does not know the codec of a stream."""
    if cast(object, stream.codec_context) is None:
        raise InputError(
            f"{path}: audio stream {stream.index} has a codec that FFmpeg does not know; it is "
            "damaged or protected: copy it again, or convert it with the program that made it"
        )


def _timeline(
    path: Path, container: av.container.InputContainer, stream: av.AudioStream
) -> Timeline:
    check_codec(path, stream)
    if is_lossless(stream.codec_context.name):
        # Without these options the decoder ignores a wrong checksum.
        stream.codec_context.options = {"err_detect": "crccheck+explode"}
    return Timeline(
        clock_of(container, stream),
        declared_seconds(path, container, stream),
        is_lossless(stream.codec_context.name),
        slack_seconds(container),
    )


def decoded(
    path: Path,
    container: av.container.InputContainer,
    timelines: dict[int, Timeline],
    keep_padding: bool,
) -> Generator[tuple[int, Samples], None, None]:
    """Decode all packets; yield the samples of each stream in order, with the stream's index.

    `timelines` maps the index of a stream in the file to its timeline. An MP4 file states how much
    of its last frame is padding. This padding is left out unless `keep_padding` is true.
    Raises `InputError` if a stream cannot be converted to the sample rate and the layout of its
    first frame.
    """
    packets = container.demux([container.streams[index] for index in timelines])
    states_padding = container.format.name == MP4 and not keep_padding
    with _readable(path):
        while (packet := _next_packet(packets, timelines)) is not None:
            index = packet.stream.index
            timeline = timelines[index]
            try:
                frames = cast(list[av.AudioFrame], packet.decode())
            except av.FFmpegError:
                timeline.fail(bytes(packet))
                continue
            stated = packet.duration if states_padding else None
            for frame in frames:
                seconds = float(stated * packet.time_base) if stated else None
                yield from _of_stream(index, timeline.add(frame, seconds), path)
        for index, timeline in timelines.items():
            yield from _of_stream(index, timeline.end(), path)


def _next_packet(packets: Iterator[av.Packet], timelines: dict[int, Timeline]) -> av.Packet | None:
    try:
        return next(packets, None)
    except av.FFmpegError:
        for timeline in timelines.values():
            timeline.ends_early = True
        return None


def _of_stream(index: int, blocks: Iterator[Samples], path: Path) -> Iterator[tuple[int, Samples]]:
    try:
        for block in blocks:
            yield index, block
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def check_not_empty(path: Path, index: int, timeline: Timeline) -> None:
    """Raise `InputError` if nothing of a stream was decoded."""
    if not timeline.parts:
        raise InputError(
            f"{path}: audio stream {index} is empty, or none of it can be decoded; "
            "copy the file again"
        )


def check_finite(path: Path, samples: Samples, sample_rate: int, start: int = 0) -> None:
    """Raise `InputError` for NaN or infinity; `start` is the position of the block in the song."""
    finite = np.isfinite(samples).all(axis=0)
    if not finite.all():
        first = (start + int(np.argmin(finite))) / sample_rate
        raise InputError(
            f"{path}: {counted(int((~finite).sum()), 'sample')} with NaN or infinity, the "
            f"first at {first:.2f} s; export the file again, or remove it"
        )


def bit_depth(stream: av.AudioStream) -> str:
    """Return the bit depth that holds a stream without loss: "16", "24" or "32f".

    A lossy stream counts as "16". Integers of 32 bits count as "24", because they are read as
    32-bit floating-point numbers, which keep only 24 bits.
    """
    if fits_sixteen_bits(stream):
        return "16"
    return "32f" if stream.codec_context.format.name.startswith(("flt", "dbl")) else "24"


def fits_sixteen_bits(stream: av.AudioStream) -> bool:
    """Whether 16 bits per sample suffice: the stream is lossy or has at most 16 bits itself."""
    context = stream.codec_context
    # FFmpeg also calls codecs lossless that may be lossy, such as DTS; these have no integers.
    integers = context.codec.lossless and context.format.name.startswith("s32")
    if not is_lossless(context.name) and not integers:
        return True
    return context.format.name in {"u8", "u8p", "s16", "s16p"}


def is_lossless(codec: str) -> bool:
    return codec.startswith(("pcm_", "flac", "alac", "wavpack", "tta"))
