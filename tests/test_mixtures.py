"""The separate command accepts any number of channels, and prints one line about each change."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from stemsplit import audio
from stemsplit.separation.front_end import FrontEnd
from stemsplit.separation.separator import Separator
from stemsplit.separation.songs import separate

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


def stems_of(song: Path, channels: int) -> dict[str, np.ndarray]:
    folder = song.parent / "stems"
    separate(separator(channels), song, folder)
    return {path.stem: audio.read(path).samples for path in folder.iterdir()}


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
    capsys: pytest.CaptureFixture[str],
) -> None:
    song = tmp_path / "song.wav"
    soundfile.write(song, SURROUND[:present].T, RATE, "FLOAT")
    stems = stems_of(song, works_on)
    np.testing.assert_allclose(sum(stems.values()), matrix @ SURROUND[:present], atol=1e-3)
    notes = capsys.readouterr().err.splitlines()
    if len(matrix) == present:
        assert notes == []
    else:
        [note] = notes
        assert note.startswith(f"{song}: its {present} channels")
        assert f"mixed down to {'stereo' if works_on == 2 else 'mono'}" in note


def test_damaged_song_is_separated_with_one_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    song = tmp_path / "song.wav"
    soundfile.write(song, SURROUND.T, RATE, "FLOAT")
    song.write_bytes(song.read_bytes()[: -6 * 4 * RATE // 4])
    stems = stems_of(song, 2)
    assert stems["vocals"].shape == (2, RATE * 3 // 4)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(
        f"{song}: it is truncated: it ends after 0.75 s of the 1.00 s that it declares; its 6"
    )
