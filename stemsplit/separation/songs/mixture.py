"""Mix down the blocks of a song, note its loudest sample, and report the progress."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from stemsplit import audio
from stemsplit.audio import Samples
from stemsplit.audio.song_stream import SongStream
from stemsplit.errors import Cancelled
from stemsplit.separation.chunks.songwise import ends
from stemsplit.separation.separator import LOUDEST_SAMPLE
from stemsplit.separation.songs.selection import StemBlock

Progress = Callable[[float], bool | None]  # returns False to end the separation


def channels_for(separator_channels: int, song_channels: int) -> int:
    """Return the number of channels in which a song is separated.

    A song with more than two channels is mixed down to the channels of a mono or stereo separator.
    All other songs keep their channels.
    """
    needs_downmix = song_channels > 2 and separator_channels <= 2
    return separator_channels if needs_downmix else song_channels


def mixed_down(stream: SongStream, channels: int, notes: list[str]) -> Iterator[Samples]:
    """Yield the blocks of a song, mixed down to `channels`; describe the mix in `notes`.

    Raises `InputError` if the layout of the file's channels is unknown.
    """
    for block in stream:
        if len(block) != channels:
            whole = audio.Audio(block, stream.sample_rate, False, False, stream.layout)
            mixed, note = audio.downmix(whole, channels)
            block = mixed.samples
            if note not in notes:
                notes.append(note)
        yield block


def with_loudest_noted(
    blocks: Iterable[Samples], sample_rate: int, notes: list[str]
) -> Iterator[Samples]:
    """Yield the blocks; then note the loudest sample in `notes` if it exceeds `LOUDEST_SAMPLE`."""
    loudest, at, time = 0.0, 0, 0
    for block in blocks:
        peaks = np.abs(block).max(axis=0, initial=0)
        if len(peaks) and (peak := float(peaks.max())) > loudest:
            loudest, at = peak, time + int(peaks.argmax())
        time += block.shape[1]
        yield block
    if loudest > LOUDEST_SAMPLE:
        notes.append(
            f"reaches {loudest:.3g} at {at / sample_rate:.2f} s, but samples should be in ±1; the "
            "stems will be poor there"
        )


def with_progress(
    blocks: Iterable[StemBlock], time: float, progress: Progress | None
) -> Iterator[StemBlock]:
    """Yield the blocks, and call `progress` with the fraction of the song that is done.

    `time` is the expected number of samples, or 0 if it is unknown. If it is unknown, the fraction
    stays 0 until the end. Raises `Cancelled` if `progress` returns False.
    """
    ready = 0
    for block in blocks:
        yield block
        ready += block.shape[-1]
        fraction = min(ready / time, 1.0) if time else 0.0
        if progress is not None and ends(progress(fraction)):
            raise Cancelled
    if progress is not None:
        progress(1.0)
