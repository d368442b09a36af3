"""Encode stems as WAV, FLAC, MP3, Ogg Vorbis or AAC, block by block."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from stemsplit.audio.encoders import Append, ffmpeg_file, vorbis_file
from stemsplit.audio.forms import Samples
from stemsplit.audio.resampling import StreamResampler
from stemsplit.audio.tags import kept_tags
from stemsplit.audio.writing import MP3_RATES
from stemsplit.errors import InputError
from stemsplit.files import replacing

# fmt: off
AAC_RATES = (
    7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000,
)
# fmt: on
HIGHEST_RATE = 655_350  # Hz, the limit of FLAC; other programs refuse WAV files with a higher rate
VORBIS_RATES = range(8000, 192_001)


class Encoding(NamedTuple):
    """How a stem is stored: one of `FORMATS`, and its bit depth or its bitrate in kbit/s.

    None stands for the default of the format. The bitrate of Ogg Vorbis is nominal: the file is
    smaller or larger, depending on the music.
    """

    format: str
    bit_depth: str | None = None
    bitrate: int | None = None


class Format(NamedTuple):
    """Limits of a format.

    `rates` are its sample rates in Hz. The first of the `bit_depths` is the default. `bitrates` are
    the possible bitrates of a stereo file in kbit/s; `bitrate` is the default.
    """

    rates: range | tuple[int, ...]
    most_channels: int
    bit_depths: tuple[str, ...] = ()
    bitrates: range | None = None
    bitrate: int | None = None


FORMATS = {
    "wav": Format(range(1, HIGHEST_RATE + 1), 64, ("32f", "24", "16")),
    "flac": Format(range(1, HIGHEST_RATE + 1), 8, ("24", "16")),
    "mp3": Format(MP3_RATES, 2, bitrates=range(32, 321), bitrate=320),
    "ogg": Format(VORBIS_RATES, 8, bitrates=range(64, 501), bitrate=256),
    "m4a": Format(AAC_RATES, 8, bitrates=range(32, 513), bitrate=256),
}


def check_encoding(encoding: Encoding, sample_rate: int, channels: int) -> None:
    """Raise `InputError` if the format cannot hold this bit depth, bitrate or number of channels.

    `sample_rate` is the sample rate of the song in Hz. If the format lacks this rate, the song is
    resampled to the rate of `output_rate`.
    """
    name, bit_depth, bitrate = encoding
    if name not in FORMATS:
        raise InputError(f"unknown format {name!r}; choose one of {', '.join(FORMATS)}")
    form = FORMATS[name]
    if channels > form.most_channels:
        others = [other for other, limits in FORMATS.items() if channels <= limits.most_channels]
        raise InputError(
            f"{name} holds at most {form.most_channels} channels, but the song has {channels}; "
            f"choose {' or '.join(others) or 'a song with fewer channels'}"
        )
    if sample_rate < 1:
        raise InputError(f"the sample rate of {sample_rate} Hz is impossible")
    if bit_depth is not None and bit_depth not in form.bit_depths:
        way_out = f"choose {' or '.join(form.bit_depths)}" if form.bit_depths else "leave it out"
        raise InputError(f"{name} has no bit depth of {bit_depth}; {way_out}")
    if bitrate is not None and form.bitrates is None:
        raise InputError(f"{name} is lossless, so it has no bitrate; leave it out")
    if bitrate is not None and form.bitrates is not None and bitrate not in form.bitrates:
        raise InputError(
            f"{name} has no bitrate of {bitrate} kbit/s; choose {form.bitrates[0]} to "
            f"{form.bitrates[-1]}"
        )


def output_rate(name: str, sample_rate: int) -> int:
    """Return the sample rate of a file in Hz: the rate of the song, if the format has it.

    Otherwise, return the next higher rate of the format, so that no frequency is lost. If there is
    no higher rate, return the highest rate of the format.
    """
    rates = FORMATS[name].rates
    if sample_rate in rates:
        return sample_rate
    return min((rate for rate in (rates[0], *rates) if rate > sample_rate), default=rates[-1])


class Writer:
    """An open output file.

    `notes` has a line if the sample rate of the file differs from the sample rate of the song.
    """

    def __init__(self, append: Append, name: str, sample_rate: int, channels: int) -> None:
        self.sample_rate = output_rate(name, sample_rate)
        self.notes: list[str] = []
        self._append = append
        self._resampler: StreamResampler | None = None
        if self.sample_rate != sample_rate:
            self._resampler = StreamResampler(sample_rate, self.sample_rate, channels)
            self.notes.append(
                f"{name} has no sample rate of {sample_rate:,} Hz: it is converted to "
                f"{self.sample_rate:,} Hz"
            )

    def write(self, samples: Samples) -> None:
        """Append samples in ±1, at the sample rate of the song.

        With a bit depth of 16 or 24, the samples are rounded to the nearest step; see `dither` for
        a better way. Lossy formats and 32f keep samples beyond ±1.
        """
        if self._resampler is not None:
            samples = self._resampler.add(samples)
        if samples.size:
            self._append(samples)

    def end(self) -> None:
        if self._resampler is not None and (rest := self._resampler.end()).size:
            self._append(rest)


def write(path: Path, samples: Samples, sample_rate: int) -> None:
    """Write a 32-bit float WAV file, so that nothing clips and stems still sum to the mixture."""
    encoding = Encoding("wav", "32f")
    with (
        replacing(path) as partial,
        open_writer(partial, encoding, sample_rate, len(samples)) as writer,
    ):
        writer.write(samples)


@contextmanager
def open_writer(
    path: Path,
    encoding: Encoding,
    sample_rate: int,
    channels: int,
    tags: Mapping[str, str] | None = None,
) -> Iterator[Writer]:
    """Open a file for writing; it is complete after the block.

    `path` may have any name, because `encoding` decides on the format. `tags` have the names of
    `SongStream.tags`; each format keeps the tags that it supports. WAV files beyond 4 GB become
    RF64.

    Raises `InputError` for the reasons of `check_encoding`, or if PyAV was built without the
    encoder; `OSError` if the file cannot be written.
    """
    check_encoding(encoding, sample_rate, channels)
    rate = output_rate(encoding.format, sample_rate)
    with _opened(path, encoding, rate, channels, kept_tags(tags or {})) as append:
        writer = Writer(append, encoding.format, sample_rate, channels)
        yield writer
        writer.end()


def _opened(
    path: Path, encoding: Encoding, sample_rate: int, channels: int, tags: Mapping[str, str]
) -> AbstractContextManager[Append]:
    name = encoding.format
    form = FORMATS[name]
    bit_depth = encoding.bit_depth or next(iter(form.bit_depths), None)
    bitrate = encoding.bitrate or form.bitrate
    if name == "ogg":
        return vorbis_file(path, sample_rate, channels, tags, bitrate or 0)
    return ffmpeg_file(path, name, sample_rate, channels, tags, bit_depth, bitrate)
