"""A tiny separator with random weights, and songs of noise for it."""

from pathlib import Path

import numpy as np
import soundfile
import torch

from stemsplit.separation.checkpoint import build, save

RATE = 8000
FRONT_END = {"sample_rate": RATE, "window": 256, "hop": 64, "mel_bands": 16, "mfccs": 4}
MLP = {"class": "stemsplit.models.mlp.Mlp", "hidden": 8}


def checkpoint_for(path: Path, *targets: str, residual: str | None = "rest") -> Path:
    """Write the checkpoint of a separator with chunks of half a second."""
    torch.manual_seed(0)
    save(build(FRONT_END, MLP, targets, residual, 2, 1, 0.5, 0.1), path)
    return path


def song_at(
    path: str | Path,
    seconds: float = 1.0,
    rate: int = RATE,
    channels: int = 2,
    subtype: str = "PCM_16",
    peak: float = 0.5,
    form: str = "WAV",
) -> str:
    samples = np.random.default_rng(0).uniform(-peak, peak, (round(rate * seconds), channels))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        soundfile.write(file, samples, rate, subtype=subtype, format=form)
    return str(path)


def files_in(folder: str | Path) -> list[str]:
    return sorted(
        str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()
    )
