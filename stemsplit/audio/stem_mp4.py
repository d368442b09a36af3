"""Write a song and its four stems as one MP4 file, in Native Instruments' layout.

The file has five AAC streams: the mixture, which every player plays, and four stems. DJ software
recognises the file by the box moov/udta/stem, which holds the names and colours of the stems as
JSON. The files of MUSDB18 have the same layout, but lack this box. Their streams are mixture,
drums, bass, other and vocals, in this order.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import av

from stemsplit.audio.channels import with_channels
from stemsplit.audio.encoders import CODECS, FfmpegStream, ffmpeg_container, highest_bitrate
from stemsplit.audio.encoding import FORMATS, output_rate
from stemsplit.audio.forms import Samples
from stemsplit.audio.mp4_boxes import add_user_data
from stemsplit.audio.resampling import StreamResampler
from stemsplit.audio.tags import kept_tags
from stemsplit.errors import InputError

STEMS = ("drums", "bass", "other", "vocals")  # order of MUSDB18
COLOURS = ("#009E73", "#D55E00", "#CC79A7", "#56B4E9")  # distinguishable by colour-blind people
BLOCK = 2**14  # samples; the streams are interleaved in such blocks, so few packets wait in memory
# Both effects are off, so that the stems sum to the mixture.
MASTERING = {
    "compressor": {
        "enabled": False,
        "input_gain": 0.5,
        "output_gain": 0.5,
        "threshold": 0,
        "ratio": 3,
        "attack": 0.003,
        "release": 0.3,
        "hp_cutoff": 300,
        "dry_wet": 50,
    },
    "limiter": {"enabled": False, "threshold": 0, "release": 0.05, "ceiling": -0.35},
}


class StemWriter:
    """An open stem.mp4 file.

    `notes` has a line if the sample rate of the file differs from the sample rate of the song.
    """

    def __init__(
        self, container: av.container.OutputContainer, sample_rate: int, bitrate: int
    ) -> None:
        self.sample_rate = output_rate("m4a", sample_rate)
        self.notes: list[str] = []
        bitrate = min(bitrate, highest_bitrate("m4a", self.sample_rate, 2))
        codec = CODECS["m4a", None]
        self._streams = [
            FfmpegStream(container, codec, self.sample_rate, 2, bitrate)
            for _ in ("mixture", *STEMS)
        ]
        self._resamplers: list[StreamResampler] = []
        if self.sample_rate != sample_rate:
            self._resamplers = [
                StreamResampler(sample_rate, self.sample_rate, 2) for _ in self._streams
            ]
            self.notes.append(
                f"stem.mp4 has no sample rate of {sample_rate:,} Hz: it is converted to "
                f"{self.sample_rate:,} Hz"
            )

    def write(self, mixture: Samples, stems: Sequence[Samples]) -> None:
        """Append samples of the mixture and of the four stems; mono becomes stereo."""
        streams = [with_channels(samples, 2) for samples in (mixture, *stems)]
        if self._resamplers:
            streams = [
                resampler.add(samples)
                for resampler, samples in zip(self._resamplers, streams, strict=True)
            ]
        self._encode(streams)

    def _encode(self, streams: Sequence[Samples]) -> None:
        for start in range(0, streams[0].shape[1], BLOCK):
            for stream, samples in zip(self._streams, streams, strict=True):
                stream.write(samples[:, start : start + BLOCK])

    def end(self) -> None:
        if self._resamplers:
            self._encode([resampler.end() for resampler in self._resamplers])
        for stream in self._streams:
            stream.end()


@contextmanager
def open_stem_writer(
    path: Path,
    sample_rate: int,
    channels: int,
    tags: Mapping[str, str] | None = None,
    names: Sequence[str] = STEMS,
    bitrate: int | None = None,
) -> Iterator[StemWriter]:
    """Open a stem.mp4 file for writing; it is complete after the block.

    `names` are the names of the four stems, in the order in which they are written. `bitrate` is
    the bitrate of each stream in kbit/s. If AAC lacks the sample rate, the samples are converted as
    in `encoding.open_writer`.

    Raises `InputError` for another number of stems, for more than two channels, and for a bitrate
    that AAC lacks; `OSError` if the file cannot be written.
    """
    check_stem_file(names, channels, bitrate)
    rate = output_rate("m4a", sample_rate)
    with ffmpeg_container(path, CODECS["m4a", None], rate, kept_tags(tags or {})) as container:
        writer = StemWriter(container, sample_rate, bitrate or FORMATS["m4a"].bitrate or 0)
        container.start_encoding()
        yield writer
        writer.end()
    add_user_data(path, b"stem", json.dumps(description(names), ensure_ascii=False).encode())


def check_stem_file(names: Sequence[str], channels: int, bitrate: int | None = None) -> None:
    """Raise `InputError` if a stem.mp4 file cannot hold these stems, channels or bitrate."""
    if len(names) != len(STEMS):
        raise InputError(
            f"stem.mp4 holds exactly {len(STEMS)} stems, but there are {len(names)} "
            f"({', '.join(names)}); choose another format"
        )
    if channels > 2:
        raise InputError(
            f"stem.mp4 holds at most 2 channels, but the song has {channels}; choose another "
            "format, or mix the song down"
        )
    bitrates = FORMATS["m4a"].bitrates
    if bitrate is not None and bitrates is not None and bitrate not in bitrates:
        raise InputError(
            f"stem.mp4 has no bitrate of {bitrate} kbit/s; choose {bitrates[0]} to {bitrates[-1]}"
        )


def description(names: Sequence[str]) -> dict[str, object]:
    """Return the content of the box `stem`."""
    stems = [
        {"name": name.capitalize(), "color": colour}
        for name, colour in zip(names, COLOURS, strict=True)
    ]
    return {"version": 1, "mastering_dsp": MASTERING, "stems": stems}
