"""Read, resample, mix down and write audio files of any format."""

from stemsplit.audio.channels import downmix, downmixer, with_channels
from stemsplit.audio.encoding import write
from stemsplit.audio.forms import Audio, Samples
from stemsplit.audio.reading import Song, read, read_song, read_streams
from stemsplit.audio.resampling import resample
from stemsplit.audio.song_stream import SongStream, open_song

__all__ = [
    "Audio",
    "Samples",
    "Song",
    "SongStream",
    "downmix",
    "downmixer",
    "open_song",
    "read",
    "read_song",
    "read_streams",
    "resample",
    "with_channels",
    "write",
]
