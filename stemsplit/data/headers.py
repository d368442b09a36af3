"""Read the headers of audio files without decoding them."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import av

from stemsplit.audio.decoding import check_codec, open_container
from stemsplit.audio.entries import unreadable
from stemsplit.audio.lengths import EXACT_LENGTH, late_seconds
from stemsplit.audio.reading import fits_sixteen_bits, is_lossless
from stemsplit.data.tracks import AudioSource, Track
from stemsplit.errors import InputError

READERS = 8  # number of threads, for any number of cores; the threads mostly wait for the disk


class Header(NamedTuple):
    """The properties of one audio source.

    `seconds` is the length if the container states it exactly, else None. `about_seconds` is the
    length that the container states, exactly or roughly; it is 0 if the container states no length.
    `sixteen_bit` is true if 16 bits per sample suffice, as in `audio.Audio`.
    """

    codec: str
    sample_rate: int
    channels: int
    seconds: float | None
    about_seconds: float = 0.0
    sixteen_bit: bool = True

    @property
    def lossless(self) -> bool:
        return is_lossless(self.codec)


# Map each source to its header, or to a one-line message that says why the header cannot be read.
Headers = Mapping[AudioSource, Header | str]


def sources(track: Track) -> dict[str, AudioSource]:
    """The sources of a track by name: first ``mixture``, then the stems.

    The mixture and the stems that have no file are left out.
    """
    by_name = {"mixture": track.mixture, **track.stems}
    return {name: source for name, source in by_name.items() if source is not None}


def read_headers(path: Path) -> list[Header]:
    """Read the header of every audio stream. Raises `InputError` if the file cannot be opened."""
    try:
        with open_container(path) as container:
            return [_header(path, stream, container) for stream in container.streams.audio]
    except FileNotFoundError:
        raise InputError(f"{path}: does not exist") from None
    except (av.FFmpegError, OSError) as error:
        raise InputError(
            f"{path}: cannot be opened ({error.strerror or error}); the file is damaged or not "
            "audio: copy it again or remove it"
        ) from None


def _header(path: Path, stream: av.AudioStream, container: av.container.InputContainer) -> Header:
    context = stream.codec_context
    check_codec(path, stream)
    if stream.duration is not None and stream.time_base is not None:
        exact = container.format.name in EXACT_LENGTH
        late = late_seconds(container, stream)
        declared = late + float(stream.duration * stream.time_base)
    else:
        exact = False
        declared = (container.duration or 0) / av.time_base
    return Header(
        context.name,
        stream.rate,
        context.channels,
        declared if exact else None,
        declared,
        fits_sixteen_bits(stream),
    )


def headers_of(tracks: Sequence[Track]) -> Headers:
    """The header of every source of the tracks; each file is opened once."""
    all_sources = [source for track in tracks for source in sources(track).values()]
    paths = list(dict.fromkeys(source.path for source in all_sources))
    with ThreadPoolExecutor(READERS) as pool:
        headers = dict(zip(paths, pool.map(_headers_or_error, paths), strict=True))
    return {source: _header_of_source(headers[source.path], source) for source in all_sources}


def _headers_or_error(path: Path) -> list[Header] | str:
    if (reason := unreadable(path)) is not None:
        return reason
    try:
        return read_headers(path)
    except InputError as error:
        return str(error)


def _header_of_source(streams: list[Header] | str, source: AudioSource) -> Header | str:
    if isinstance(streams, str):
        return streams
    if source.stream >= len(streams):
        needed = source.stream + 1
        return f"{source.path}: has {len(streams)} audio streams, but {needed} are needed"
    header = streams[source.stream]
    if source.channel is None:
        return header
    if source.channel >= header.channels:
        needed = source.channel + 1
        return f"{source.path}: has {header.channels} channel(s), but {needed} are needed"
    return header._replace(channels=1)
