"""Spectrograms of unusual samples and names; the matplotlib backend stays unchanged."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from stemsplit.evaluation.spectrograms import spectrogram_comparison

RATE = 8000


@pytest.mark.parametrize(("value", "time"), [(0, 0), (0, 4000), (np.nan, 100), (3e38, 100)])
def test_silent_short_and_extreme_signals_are_drawn(
    value: float, time: int, tmp_path: Path
) -> None:
    samples = np.full((2, time), value, np.float32)
    spectrogram_comparison({"vocals": samples}, RATE, tmp_path / "out.png", "title")
    assert image.imread(tmp_path / "out.png")[..., :3].std() > 0.05


def test_dollar_signs_in_names_are_plain_text(tmp_path: Path) -> None:
    samples = np.zeros((1, 4000), np.float32)
    spectrogram_comparison({"$^$": samples}, RATE, tmp_path / "out.png", "$_^$ by A$AP")
    assert (tmp_path / "out.png").is_file()


def test_nonfinite_samples_are_drawn_as_silence(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).uniform(-1, 1, (1, 4000)).astype(np.float32)
    silenced, spoilt = sound.copy(), sound.copy()
    silenced[0, 2000:2010] = 0
    spoilt[0, 2000:2010] = np.nan
    for name, samples in {"silenced": silenced, "spoilt": spoilt}.items():
        spectrogram_comparison({"vocals": samples}, RATE, tmp_path / f"{name}.png", "title")
    pictures = [image.imread(tmp_path / f"{name}.png") for name in ("silenced", "spoilt")]
    np.testing.assert_array_equal(*pictures)


DRAW = """
import matplotlib
matplotlib.use("svg")  # a notebook's choice
import stemsplit.sweeps.plots, stemsplit.evaluation.spectrograms, stemsplit.training.layers.plot
assert matplotlib.get_backend() == "svg", matplotlib.get_backend()
"""


def test_import_keeps_matplotlib_backend() -> None:
    subprocess.run([sys.executable, "-c", DRAW], check=True)
