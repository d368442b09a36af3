"""Songs with any number of channels are separated, with a note about each change."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

import stemsplit
from stemsplit import audio
from stemsplit.separation.front_end import FrontEnd
from stemsplit.separation.separator import Separator
from stemsplit.separation.songs.lines import SeparatedSong

RATE = 8000
HALF = 0.7071


class HalfMask(nn.Module):
    """A mask of 0.5 everywhere."""

    views = ("magnitude",)

    def forward(self, views: dict[str, torch.Tensor]) -> torch.Tensor:
        return 0.5 * torch.ones_like(views["magnitude"])[:, None]


def separator(channels: int) -> Separator:
    front_end = FrontEnd(sample_rate=RATE, window=256, hop=64, mel_bands=16, mfccs=4)
    return Separator(front_end, HalfMask(), ["vocals"], "rest", channels, chunk_seconds=2.0,
                     overlap_seconds=0.1)  # fmt: skip


def separated(song: Path, channels: int) -> tuple[dict[str, np.ndarray], SeparatedSong]:
    """The stems of a song by name, and the result of its separation."""
    result = stemsplit.separate_file(song, song.parent / "stems", separator(channels))
    return {stem: audio.read(path).samples for stem, path in result.paths.items()}, result


SURROUND = np.random.default_rng(0).uniform(-0.3, 0.3, (6, RATE)).astype(np.float32)
STEREO = np.array([[1, 0, HALF, 0, HALF, 0], [0, 1, HALF, 0, 0, HALF]])
MONO = np.array([[HALF, HALF, 1, 0, 0.5, 0.5]])


@pytest.mark.parametrize(
    ("present", "works_on", "matrix"),
    [(6, 2, STEREO), (6, 1, MONO), (3, 2, STEREO[:, :3]), (3, 1, MONO[:, :3]), (2, 2, np.eye(2)),
     (2, 1, np.eye(2)), (1, 2, np.eye(1)), (6, 6, np.eye(6))],
)  # fmt: skip
def test_stems_sum_to_the_downmix(
    present: int,
    works_on: int,
    matrix: np.ndarray,
    tmp_path: Path,
) -> None:
    song = tmp_path / "song.wav"
    soundfile.write(song, SURROUND[:present].T, RATE, "FLOAT")
    stems, result = separated(song, works_on)
    np.testing.assert_allclose(sum(stems.values()), matrix @ SURROUND[:present], atol=1e-3)
    if len(matrix) == present:
        assert result.notes == []
    else:
        [note] = result.notes
        assert note.startswith(f"its {present} channels")
        assert f"mixed down to {'stereo' if works_on == 2 else 'mono'}" in note


def test_notes_describe_damage_and_downmix(tmp_path: Path) -> None:
    song = tmp_path / "song.wav"
    soundfile.write(song, SURROUND.T, RATE, "FLOAT")
    song.write_bytes(song.read_bytes()[: -6 * 4 * RATE // 4])
    stems, result = separated(song, 2)
    assert stems["vocals"].shape == (2, RATE * 3 // 4)
    damage, downmix = result.notes
    assert damage == "it is truncated: it ends after 0.75 s of the 1.00 s that it declares"
    assert downmix.startswith("its 6 channels")
