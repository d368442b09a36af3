"""MIR-1K: a thousand karaoke clips. The left channel is the accompaniment, the right is the voice.
The corpus is from Hsu and Jang, "On the improvement of singing voice separation for monaural
recordings using the MIR-1K dataset" (2010). The split is from Huang et al., "Singing-voice
separation from monaural recordings using deep recurrent neural networks" (2014).
"""

import re
from pathlib import Path

from stemsplit.audio.entries import visible
from stemsplit.data.tracks import AudioSource, Subset, Track, check_folder
from stemsplit.errors import InputError

TRAINING_SINGERS = {"abjones", "amy"}
VALIDATION_CLIPS = {"abjones_5_08", "abjones_5_09", "amy_9_08", "amy_9_09"}
CHANNELS = {"accompaniment": 0, "vocals": 1}
CLIP = re.compile(r"(?P<singer>[A-Za-z]+)_\d+_\d+")  # SINGER_SONG_CLIP


def mir1k(root: Path) -> list[Track]:
    """List the clips of the folder ``Wavfile``, which is `root` itself or a folder below it.

    The mixture is the sum of both channels. The channels have equal energy in every clip, so the
    sum is the mixture at 0 dB in the papers. Raises `InputError` if there are no clips, or if the
    name of a wav file is not SINGER_SONG_CLIP.wav.
    """
    folder = _wav_folder(root)
    tracks = []
    for path in _wav_files(folder):
        clip = CLIP.fullmatch(path.stem)
        if clip is None:
            raise InputError(
                f"{path}: is not a clip of MIR-1K, because its name is not SINGER_SONG_CLIP.wav; "
                "set data.root to the folder Wavfile of MIR-1K"
            )
        stems: dict[str, AudioSource | None] = {
            stem: AudioSource(path, channel=channel) for stem, channel in CHANNELS.items()
        }
        tracks.append(Track(path.stem, _subset(path.stem, clip["singer"]), None, stems))
    return tracks


def _wav_folder(root: Path) -> Path:
    check_folder(root)
    for folder in (root, root / "Wavfile", root / "MIR-1K" / "Wavfile"):
        if folder.is_dir() and _wav_files(folder):
            return folder
    raise InputError(
        f"{root}: there are no wav files in this folder or in its subfolder Wavfile; set data.root "
        "to the folder MIR-1K or MIR-1K/Wavfile"
    )


def _wav_files(folder: Path) -> list[Path]:
    return [path for path in visible(folder) if path.suffix == ".wav"]


def _subset(name: str, singer: str) -> Subset:
    if name in VALIDATION_CLIPS:
        return "valid"
    return "train" if singer in TRAINING_SINGERS else "test"
