"""Read, resample and write audio files of any format."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import av
import numpy as np
import soundfile
import soxr
from jaxtyping import Float32

from stemsplit.errors import InputError
from stemsplit.files import replacing

Samples = Float32[np.ndarray, "channel time"]

# Containers whose headers state the length exactly; elsewhere (mp3) it may be a guess.
EXACT_LENGTH = {"mov,mp4,m4a,3gp,3g2,mj2", "wav", "flac"}
# A decoder may trim its delay from either end; a file that was cut loses more than this.
TRIMMED_SECONDS = 0.2
MOST_SECONDS_AT_ONCE = 600.0  # that memory is taken for before they are there


class Audio(NamedTuple):
    """Samples in ±1 (a lossy stream may overshoot), their rate, and whether 16 bits hold them."""

    samples: Samples
    sample_rate: int
    sixteen_bit: bool
    lossless: bool


def read(path: Path, stream: int = 0) -> Audio:
    """One audio stream of a file."""
    return read_streams(path, [stream])[0]


def read_streams(path: Path, streams: Sequence[int]) -> list[Audio]:
    """Several audio streams of a file, decoded in one pass.

    Raises `InputError` where the file is missing, not audio, cut short, holds fewer streams, or
    where a sample is not a number.
    """
    try:
        with av.open(f"file:{path}", metadata_errors="replace") as container:
            return _decode(path, container, streams)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (av.FFmpegError, OSError) as error:
        raise InputError(
            f"{path}: cannot be decoded ({error.strerror or error}); "
            "it is damaged or not audio: copy it anew, or remove it"
        ) from None


def _decode(
    path: Path, container: av.container.InputContainer, wanted: Sequence[int]
) -> list[Audio]:
    present = container.streams.audio
    if max(wanted) >= len(present):
        raise InputError(f"{path}: has {len(present)} audio streams, {max(wanted) + 1} are needed")
    streams = {present[index].index: present[index] for index in wanted}
    decoded = {index: _Decoded(path, stream) for index, stream in streams.items()}
    for packet in container.demux(list(streams.values())):
        add = decoded[packet.stream.index].add
        for frame in cast(list[av.AudioFrame], packet.decode()):
            add(frame)
    audios = []
    for index, stream in streams.items():
        if (found := decoded[index]).form is None:
            raise InputError(f"{path}: audio stream {index} is empty; copy the file anew")
        rate, _ = found.form
        _check(path, found.samples, rate, stream, container.format.name)
        codec = stream.codec_context.name
        audios.append(Audio(found.samples, rate, fits_sixteen_bits(stream), is_lossless(codec)))
    return audios


class _Decoded:
    """The frames of a stream, each put where it belongs: a song has tens of thousands of them."""

    def __init__(self, path: Path, stream: av.AudioStream) -> None:
        self.path = path
        self.form: tuple[int, int] | None = None  # rate and channels, as the first frame has them
        self.declared = float((stream.duration or 0) * (stream.time_base or 0))
        self.time = 0
        self.to_planar_float = av.AudioResampler(format="fltp")

    def add(self, frame: av.AudioFrame) -> None:
        form = (frame.sample_rate, frame.layout.nb_channels)
        if self.form is None:
            self.form = form
            # A header may say anything.
            capacity = round(min(self.declared, MOST_SECONDS_AT_ONCE) * frame.sample_rate)
            self.buffer = np.empty((form[1], capacity), np.float32)
        if form != self.form:
            raise InputError(
                f"{self.path}: changes its rate or its channels half-way, from {self.form} to "
                f"{form}; convert the parts to one form first"
            )
        # Lossy codecs give planar floats as they are: no detour for them.
        same = frame.format.name == "fltp"
        for planar in [frame] if same else self.to_planar_float.resample(frame):
            end = self.time + planar.samples
            if end > self.buffer.shape[1]:
                longer = np.empty((len(self.buffer), max(end, 2 * self.time)), np.float32)
                longer[:, : self.time] = self.samples
                self.buffer = longer
            for row, plane in zip(self.buffer, planar.planes, strict=True):
                row[self.time : end] = np.frombuffer(cast(Any, plane), np.float32, planar.samples)
            self.time = end

    @property
    def samples(self) -> Samples:
        return self.buffer[:, : self.time]


def _check(
    path: Path, samples: np.ndarray, rate: int, stream: av.AudioStream, container: str
) -> None:
    if container == "wav":
        _check_riff_length(path)
    seconds = samples.shape[1] / rate
    declared = float((stream.duration or 0) * (stream.time_base or 0))
    if container in EXACT_LENGTH and seconds < declared - TRIMMED_SECONDS:
        raise InputError(
            f"{path}: ends after {seconds:.1f} s of the {declared:.1f} s that it declares; "
            "it is truncated: copy it anew"
        )
    finite = np.isfinite(samples).all(axis=0)
    if not finite.all():
        first = np.argmin(finite) / rate
        raise InputError(
            f"{path}: {np.count_nonzero(~finite)} samples are not finite numbers, the first at "
            f"{first:.2f} s; export the file again, or remove it"
        )


def _check_riff_length(path: Path) -> None:
    """A cut WAV file is shorter than its header says, which the decoder passes over in silence."""
    with path.open("rb") as file:
        head = file.read(8)
    declared = 8 + int.from_bytes(head[4:], "little")
    streamed = declared == 8 or declared > 0x7FFFF000  # written to a pipe: the length is not known
    if head[:4] == b"RIFF" and not streamed and path.stat().st_size < declared - 1:
        raise InputError(
            f"{path}: has {path.stat().st_size} of the {declared} bytes that it declares; "
            "it is truncated: copy it anew"
        )


def fits_sixteen_bits(stream: av.AudioStream) -> bool:
    """Whether int16 keeps all that the source has: it is lossy, or 16-bit itself."""
    context = stream.codec_context
    return not is_lossless(context.name) or context.format.name in {"u8", "u8p", "s16", "s16p"}


def is_lossless(codec: str) -> bool:
    return codec.startswith(("pcm_", "flac", "alac", "wavpack", "tta"))


def resample(
    samples: Samples, source_rate: int, rate: int
) -> Float32[np.ndarray, "channel resampled"]:
    """Band-limited change of the rate (soxr, its high-quality setting)."""
    if source_rate == rate:
        return samples
    return np.ascontiguousarray(soxr.resample(samples.T, source_rate, rate).T)


def with_channels(samples: Samples, channels: int) -> Float32[np.ndarray, "_ time"]:
    """Mono copied to every channel, or all channels averaged to mono."""
    present = len(samples)
    if present == channels:
        return samples
    if present == 1:
        return np.repeat(samples, channels, axis=0)
    if channels == 1:
        return samples.mean(axis=0, keepdims=True)
    raise InputError(f"audio of {present} channels cannot be made {channels}: mix it down first")


def write(path: Path, samples: Samples, sample_rate: int) -> None:
    """A 32-bit float WAV file: nothing clips, and stems still sum to the mixture."""
    with replacing(path) as partial:
        soundfile.write(partial, samples.T, sample_rate, format="WAV", subtype="FLOAT")
