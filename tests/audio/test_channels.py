"""Mixing surround sound down, with the coefficients of ITU-R BS.775."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemsplit import audio
from stemsplit.errors import InputError

HALF = 1 / np.sqrt(2)  # -3 dB
# Coefficients of the file's channels in left, right and mono, for each layout.
COEFFICIENTS = {
    "3.0": ([1, 0, HALF], [0, 1, HALF], [HALF, HALF, 1]),
    "2.1": ([1, 0, 0], [0, 1, 0], [HALF, HALF, 0]),
    "quad": ([1, 0, HALF, 0], [0, 1, 0, HALF], [HALF, HALF, 0.5, 0.5]),
    "5.0(side)": ([1, 0, HALF, HALF, 0], [0, 1, HALF, 0, HALF], [HALF, HALF, 1, 0.5, 0.5]),
    "5.1": ([1, 0, HALF, 0, HALF, 0], [0, 1, HALF, 0, 0, HALF], [HALF, HALF, 1, 0, 0.5, 0.5]),
    "5.1(side)": ([1, 0, HALF, 0, HALF, 0], [0, 1, HALF, 0, 0, HALF], [HALF, HALF, 1, 0, 0.5, 0.5]),
}  # fmt: skip
ASSUMED_LAYOUTS = {"3 channels": "3.0", "4 channels": "quad", "6 channels": "5.1(side)"}


@pytest.mark.parametrize("layout", [*COEFFICIENTS, *ASSUMED_LAYOUTS])
def test_downmix_has_the_standard_coefficients(layout: str) -> None:
    left, right, mono = COEFFICIENTS[ASSUMED_LAYOUTS.get(layout, layout)]
    sound = np.random.default_rng(0).uniform(-1, 1, (len(mono), 1000)).astype(np.float32)
    surround = audio.Audio(sound, 44100, True, True, layout)
    for matrix, name in (([left, right], "stereo"), ([mono], "mono")):
        mixed, note = audio.downmix(surround, len(matrix))
        np.testing.assert_allclose(mixed.samples, np.array(matrix) @ sound, atol=1e-3)
        assert mixed.layout == name
        assert f"{len(sound)} channels" in note
        assert f"mixed down to {name}" in note
    assert len(surround.samples) == len(mono)


def test_twelve_unnamed_channels_are_refused() -> None:
    unknown = audio.Audio(np.zeros((12, 10), np.float32), 44100, True, True, "12 channels")
    with pytest.raises(InputError, match="12 channels"):
        audio.downmix(unknown, 2)


@pytest.mark.parametrize(("channels", "layout"), [(1, "mono"), (2, "stereo"), (6, "5.1")])
def test_layout_of_a_flac_file_is_read(channels: int, layout: str, tmp_path: Path) -> None:
    path = tmp_path / "song.flac"
    soundfile.write(path, np.zeros((1000, channels)), 44100)
    assert audio.read(path).layout.startswith(layout)
