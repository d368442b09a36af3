"""Start time and declared length of an audio stream."""

import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

import av

from stemsplit.audio.pcm_headers import CHUNK_LAYOUTS, declared_pcm_seconds

# Containers whose headers state the number of samples exactly.
EXACT_TO_THE_SAMPLE = {"flac", "aiff", "au", "tta", "wv", "ape"}
MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
MATROSKA = "matroska,webm"
EXACT_LENGTH = {*EXACT_TO_THE_SAMPLE, MP4, "wav"}
# Containers whose time stamps start at 0. In other containers they may start at any value.
STARTS_AT_ZERO = {MP4, MATROSKA}
LONGEST_DELAY_SECONDS = 0.2  # delay of a decoder's first frame
LATEST_START_SECONDS = 60.0  # a file that starts later was cut from a longer recording
# Largest error of FFmpeg's time stamps in Ogg Vorbis. The error is half a long window, and occurs
# at the last packet of the first page. A lost page lasts longer, so the loss is still detected.
VORBIS_ERROR_SECONDS = 0.05
# Bytes to read at the end of a file to find its last page. An Ogg page has at most 65,307 bytes.
OGG_TAIL = 2**18
MP3_HEAD = 2**12  # bytes that are searched for the number of frames


class Clock(NamedTuple):
    """Start of a file (`zero`) and of one of its streams (`start`), as time stamps in seconds.

    `tick` is the resolution of the time stamps. `may_start_late` says whether the stream may start
    after `start`. `error_seconds` is the possible error of single time stamps.
    """

    zero: float
    start: float
    tick: float
    may_start_late: bool
    error_seconds: float = 0.0

    def start_with(self, first_stamp: float) -> float:
        """Return the start of the stream, given the time stamp of its first frame.

        FFmpeg looks for the start in the first seconds only. For a stream that starts later, FFmpeg
        reports the start of the file. Then this function returns the time stamp of the first frame.
        """
        is_late = self.may_start_late and first_stamp - self.start > LONGEST_DELAY_SECONDS
        return first_stamp if is_late else self.start

    def late_seconds(self, start: float) -> float:
        """Return the time from the start of the file to the start of the stream, in seconds."""
        late = start - self.zero
        return late if late > 2 * self.tick else 0.0  # time stamps may be rounded


def clock_of(container: av.container.InputContainer, stream: av.AudioStream) -> Clock:
    tick = float(stream.time_base or 0)
    starts_at_zero = container.format.name in STARTS_AT_ZERO
    zero = (container.start_time or 0) / av.time_base
    if starts_at_zero and zero < LATEST_START_SECONDS:
        zero = 0.0
    may_start_late = starts_at_zero or not _has_one_stream(container)
    is_vorbis = container.format.name == "ogg" and stream.codec_context.name == "vorbis"
    error_seconds = VORBIS_ERROR_SECONDS if is_vorbis else 0.0
    return Clock(zero, (stream.start_time or 0) * tick, tick, may_start_late, error_seconds)


def late_seconds(container: av.container.InputContainer, stream: av.AudioStream) -> float:
    """Return the seconds from the start of a file to the start of a stream, by the header."""
    clock = clock_of(container, stream)
    return clock.late_seconds(clock.start)


def declared_seconds(
    path: Path, container: av.container.InputContainer, stream: av.AudioStream
) -> float | None:
    """Return the declared length of a stream; None if it is unknown or only estimated."""
    name = container.format.name
    if name in CHUNK_LAYOUTS:
        is_pcm = stream.codec_context.name.startswith("pcm_")
        return declared_pcm_seconds(path, name) if is_pcm else None
    if name == MATROSKA and _has_one_stream(container) and container.duration:
        return container.duration / av.time_base - late_seconds(container, stream)
    if stream.duration is None or stream.time_base is None:
        return None
    seconds = float(stream.duration * stream.time_base)
    if name == "mp3" and not _counts_its_frames(path, seconds, stream.codec_context):
        return None
    return seconds if name in EXACT_LENGTH | {"mp3", "ogg"} else None


def slack_seconds(container: av.container.InputContainer) -> float:
    """Return the rounding error of the declared length, in seconds."""
    return 2e-3 if container.format.name in STARTS_AT_ZERO else 0.0


def _has_one_stream(container: av.container.InputContainer) -> bool:
    """Whether the file has only one stream, apart from cover pictures."""
    pictures = av.stream.Disposition.attached_pic
    return sum(not stream.disposition & pictures for stream in container.streams) == 1


def _counts_its_frames(path: Path, seconds: float, codec: av.AudioCodecContext) -> bool:
    """Whether an MP3 file states its number of frames; otherwise FFmpeg estimates its length."""
    with path.open("rb") as file:
        _skip_id3(file)
        head = file.read(MP3_HEAD)
    for tag, skipped in ((b"Xing", 8), (b"Info", 8), (b"VBRI", 14)):
        if 0 <= (place := head.find(tag)) <= len(head) - 18:
            flags, frames = struct.unpack_from(">4xI", head, place)[0], place + skipped
            counted = int.from_bytes(head[frames : frames + 4], "big")
            samples = counted * (codec.frame_size or 1152)
            spare = samples - seconds * codec.sample_rate  # delay and padding of the encoder
            has_count = tag == b"VBRI" or flags & 1
            return bool(has_count) and -1 <= spare <= 4 * 1152
    return False


def _skip_id3(file: BinaryIO) -> None:
    """Move to the first byte after all ID3v2 tags."""
    start = 0
    while (head := file.read(10))[:3] == b"ID3":
        size = 0
        for byte in head[6:]:
            size = size << 7 | byte & 0x7F
        start += 10 + size + (10 if head[5] & 0x10 else 0)
        file.seek(start)
    file.seek(start)


def lacks_its_last_page(path: Path) -> bool:
    """Whether the last page in an Ogg file is incomplete, or is not marked as the last page."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - OGG_TAIL))
        tail = file.read()
    last = tail.rfind(b"OggS")
    if last < 0:
        return False
    page = tail[last:]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return True
    is_complete = len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])
    return not is_complete or not page[5] & 4
