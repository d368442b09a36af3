"""Encoders: FFmpeg for WAV, FLAC, MP3 and AAC, libsndfile for Ogg Vorbis.

libsndfile could also write FLAC and WAV, but FFmpeg keeps more tags, and turns a WAV file into RF64
if it exceeds 4 GB. PyAV's builds of FFmpeg have no good Vorbis encoder; libsndfile has libvorbis.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, cast

import av
import numpy as np
import soundfile
from jaxtyping import Shaped

from stemsplit.audio.channels import USUAL_LAYOUTS
from stemsplit.audio.forms import Samples
from stemsplit.errors import InputError

BLOCK = 2**14  # samples that are encoded at once
AAC_LAYOUTS = {5: "5.0", 6: "5.1"}  # by channels; AAC has no code for 5.0(side) or 5.1(side)
MP3_FRAME = 1152  # samples
AAC_BITS_PER_FRAME = 6144  # most bits per channel in a frame of 1024 samples
SLOW_MP3_BITRATES = {16000: 64, 32000: 160}  # highest kbit/s for rates below the key in Hz
# libsndfile expects the channels in Vorbis's order, but samples have FFmpeg's order. For each
# number of channels, the tuple lists the channels in Vorbis's order by their index in FFmpeg's.
VORBIS_ORDER = {
    3: (0, 2, 1),
    5: (0, 2, 1, 3, 4),
    6: (0, 2, 1, 4, 5, 3),
    7: (0, 2, 1, 5, 6, 4, 3),
    8: (0, 2, 1, 6, 7, 4, 5, 3),
}
# Nominal bitrates in kbit/s of stereo at 44.1 kHz, for libvorbis's qualities 0, 0.1, … 1.
VORBIS_BITRATES = (64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 500)
VORBIS_TAGS = {  # libsndfile's name of a tag, by FFmpeg's name
    **{name: name for name in ("title", "artist", "album", "date", "genre", "comment")},
    **{"copyright": "copyright", "track": "tracknumber"},
}


# Appends samples to an open file.
Append = Callable[[Samples], None]


class Codec(NamedTuple):
    """FFmpeg's names of a container, of an encoder and of two sample formats.

    `samples` is the format of the frames that are given to FFmpeg; `encoded` is the format that the
    encoder needs.
    """

    container: str
    encoder: str
    samples: str
    encoded: str


CODECS = {
    ("wav", "16"): Codec("wav", "pcm_s16le", "s16", "s16"),
    ("wav", "24"): Codec("wav", "pcm_s24le", "s32", "s32"),
    ("wav", "32f"): Codec("wav", "pcm_f32le", "flt", "flt"),
    ("flac", "16"): Codec("flac", "flac", "s16", "s16"),
    ("flac", "24"): Codec("flac", "flac", "s32", "s32"),
    ("mp3", None): Codec("mp3", "libmp3lame", "flt", "fltp"),
    ("m4a", None): Codec("ipod", "aac", "flt", "fltp"),
}


class FfmpegStream:
    """One stream of an output container."""

    def __init__(
        self,
        container: av.container.OutputContainer,
        codec: Codec,
        sample_rate: int,
        channels: int,
        bitrate: int | None,
    ) -> None:
        layout = USUAL_LAYOUTS.get(channels, f"{channels} channels")
        self.layout = AAC_LAYOUTS.get(channels, layout) if codec.encoder == "aac" else layout
        self.samples = codec.samples
        self.sample_rate = sample_rate
        self.time = 0
        self.container = container
        stream = container.add_stream(codec.encoder, rate=sample_rate, layout=self.layout)
        self.stream = cast(av.AudioStream, stream)
        self.stream.codec_context.format = codec.encoded
        if bitrate is not None:
            self.stream.bit_rate = 1000 * bitrate

    def write(self, samples: Samples) -> None:
        for start in range(0, samples.shape[1], BLOCK):
            self._write(samples[:, start : start + BLOCK])

    def _write(self, samples: Samples) -> None:
        packed = np.ascontiguousarray(_as_format(samples, self.samples).T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, self.samples, self.layout)
        frame.sample_rate = self.sample_rate
        frame.time_base, frame.pts = Fraction(1, self.sample_rate), self.time
        self.time += samples.shape[1]
        self.container.mux(self.stream.encode(frame))

    def end(self) -> None:
        # LAME's last frame may contain only padding. Such a frame is dropped, because FFmpeg would
        # write a wrong length: it counts this frame, but not the padding in the frame before.
        packets = self.stream.encode(None)
        # With at most MP3_FRAME samples, it is kept: a single frame would not be recognised as MP3.
        if self.time > MP3_FRAME:
            packets = [packet for packet in packets if packet.duration or not packet.size]
        self.container.mux(packets)


def _as_format(samples: Samples, form: str) -> Shaped[np.ndarray, "channel time"]:
    if form == "flt":
        return samples
    bits = 16 if form == "s16" else 24
    steps = np.rint(samples * np.float32(2 ** (bits - 1)))
    integers = np.clip(steps, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1).astype(np.int32)
    # FFmpeg expects 24 bits in the upper bytes of 32.
    return integers.astype(np.int16) if bits == 16 else integers << 8


@contextmanager
def ffmpeg_file(
    path: Path,
    name: str,
    sample_rate: int,
    channels: int,
    tags: Mapping[str, str],
    bit_depth: str | None,
    bitrate: int | None,
) -> Iterator[Append]:
    """Open a file with one stream; see `encoding.open_writer`."""
    codec = CODECS[name, bit_depth]
    if bitrate is not None:
        bitrate = min(bitrate, highest_bitrate(name, sample_rate, channels))
    with ffmpeg_container(path, codec, sample_rate, tags) as container:
        stream = FfmpegStream(container, codec, sample_rate, channels, bitrate)
        container.start_encoding()
        yield stream.write
        stream.end()


@contextmanager
def ffmpeg_container(
    path: Path, codec: Codec, sample_rate: int, tags: Mapping[str, str]
) -> Iterator[av.container.OutputContainer]:
    """Open a container for streams of this codec; the caller adds them.

    Raises `InputError` if PyAV was built without the encoder; `OSError` with the path if the file
    cannot be written.
    """
    try:
        av.Codec(codec.encoder, "w")
    except av.codec.codec.UnknownCodecError:
        raise InputError(
            f"this build of PyAV has no encoder {codec.encoder}; install PyAV from its wheel, or "
            "choose another format"
        ) from None
    options = {
        # Reserve room in the header for 64-bit sizes, so that a file beyond 4 GB can become RF64.
        "wav": {"rf64": "auto"},
        # Otherwise the length in the edit list is rounded to milliseconds.
        "ipod": {"movie_timescale": str(sample_rate)},
    }.get(codec.container, {})
    try:
        with av.open(
            f"file:{path}", "w", format=codec.container, container_options=options
        ) as container:
            container.metadata.update(tags)
            yield container
    except OSError as error:
        if not isinstance(error, av.FFmpegError):  # an error from the block of the caller
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


def highest_bitrate(name: str, sample_rate: int, channels: int) -> int:
    """Return the highest bitrate in kbit/s at this sample rate."""
    if name == "m4a":
        return AAC_BITS_PER_FRAME * sample_rate * channels // 1024 // 1000
    return next((most for rate, most in SLOW_MP3_BITRATES.items() if sample_rate < rate), 320)


@contextmanager
def vorbis_file(
    path: Path, sample_rate: int, channels: int, tags: Mapping[str, str], bitrate: int
) -> Iterator[Append]:
    """Open an Ogg Vorbis file; see `encoding.open_writer`."""
    stereo_bitrate = bitrate * 2 / channels
    quality = np.interp(stereo_bitrate, VORBIS_BITRATES, np.linspace(0, 1, len(VORBIS_BITRATES)))
    try:
        file = soundfile.SoundFile(
            os.fsencode(path),
            mode="w",
            samplerate=sample_rate,
            channels=channels,
            subtype="VORBIS",
            format="OGG",
            compression_level=1 - quality,
        )
    except soundfile.LibsndfileError as error:
        # If the file cannot be created, libsndfile does not say why, but this line raises an
        # `OSError` with the reason.
        path.open("wb").close()
        raise InputError(
            f"libsndfile cannot write Ogg Vorbis ({error}); choose another format"
        ) from None
    with file:
        for name, text in tags.items():
            if name in VORBIS_TAGS:
                setattr(file, VORBIS_TAGS[name], text)
        yield lambda samples: _append_vorbis(file, samples)


def _append_vorbis(file: soundfile.SoundFile, samples: Samples) -> None:
    if order := VORBIS_ORDER.get(len(samples)):
        samples = samples[list(order)]
    # libsndfile passes each block to libvorbis as a whole, and libvorbis keeps the block on the
    # stack, so a long block would overflow the stack.
    for start in range(0, samples.shape[1], BLOCK):
        file.write(samples[:, start : start + BLOCK].T)
