"""Ideal masks."""

import numpy as np
import pytest
import torch
from torch import Tensor

from stemsplit.evaluation import oracles
from stemsplit.evaluation.oracles import ORACLES, separate
from stemsplit.separation.front_end import FrontEnd

RATE = 8000
FRONT_END = FrontEnd(RATE, 512, 128, mel_bands=16, mfccs=4)


def stems(seconds: float = 3.0, channels: int = 2) -> Tensor:
    """A pulsed low tone, louder on the left, and noise, louder on the right."""
    time = torch.arange(int(seconds * RATE)) / RATE
    pan = torch.tensor([[1.0], [0.3]])[:channels]
    tone = 0.3 * torch.sin(2 * torch.pi * 200 * time) * (time % 1 < 0.6) * pan
    generator = torch.Generator().manual_seed(0)
    noise = 0.05 * torch.randn(channels, len(time), generator=generator) * pan.flip(0)
    return torch.stack([tone, noise])[None]


def sdr(reference: Tensor, estimate: Tensor) -> float:
    return float(10 * torch.log10(reference.square().sum() / (reference - estimate).square().sum()))


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("channels", [1, 2])
def test_oracle_scores_far_above_mixture(name: str, channels: int) -> None:
    true = stems(channels=channels)
    copy = true.clone()
    mixture = true.sum(dim=1)
    estimates = separate(ORACLES[name], FRONT_END, true, mixture)
    assert estimates.shape == true.shape
    assert torch.equal(true, copy)
    for stem in range(2):
        assert sdr(true[0, stem], estimates[0, stem]) > sdr(true[0, stem], mixture[0]) + 6


@pytest.mark.parametrize("name", ["IRM1", "IRM2", "MWF"])
def test_oracle_estimates_sum_to_mixture(name: str) -> None:
    true = stems()
    mixture = true.sum(dim=1)
    estimates = separate(ORACLES[name], FRONT_END, true, mixture)
    # The Wiener filter assigns a little of the mixture to the noise of its model.
    torch.testing.assert_close(estimates.sum(dim=1), mixture, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ORACLES)
def test_silent_stem_stays_silent(name: str) -> None:
    true = stems()
    true[:, 0] = 0
    estimates = separate(ORACLES[name], FRONT_END, true, true.sum(dim=1))
    assert estimates.isfinite().all()
    assert estimates[:, 0].abs().max() < 1e-3
    silent = separate(ORACLES[name], FRONT_END, 0 * true, 0 * true.sum(dim=1))
    assert not silent.any()


@pytest.mark.parametrize("name", ["IRM1", "IRM2", "IBM1"])
def test_chunked_separation_equals_whole_song(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    true = stems(5.0)
    at_once = separate(ORACLES[name], FRONT_END, true, true.sum(dim=1))
    monkeypatch.setattr(oracles, "CHUNK_SECONDS", 128 * 90 / RATE)
    monkeypatch.setattr(oracles, "OVERLAP_SECONDS", 128 * 20 / RATE)
    chunked = separate(ORACLES[name], FRONT_END, true, true.sum(dim=1))
    assert np.abs(at_once - chunked).mean() < 1e-3
