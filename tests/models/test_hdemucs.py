"""Hybrid Demucs: torchaudio's network on mixtures of any length and loudness."""

import pytest
import torch
import torchaudio

from stemsplit.errors import InputError
from stemsplit.models.hdemucs import WINDOWS, HybridDemucs


def network(channels: int = 2, stems: int = 2, window: int = 1024) -> HybridDemucs:
    torch.manual_seed(0)
    bands = {"magnitude": window // 2 + 1}
    return HybridDemucs(bands, 8000, channels, stems, features=4, depth=5).eval()


@pytest.mark.parametrize("time", [1, 300, 1024, 4001])
@pytest.mark.parametrize(("channels", "stems"), [(1, 1), (2, 4)])
def test_stems_are_as_long_as_the_mixture(time: int, channels: int, stems: int) -> None:
    mixture = 0.1 * torch.randn(3, channels, time)
    estimate = network(channels, stems)(mixture)
    assert estimate.shape == (3, stems, channels, time)
    assert estimate.isfinite().all()


@pytest.mark.parametrize("window", WINDOWS)
def test_every_listed_window_works(window: int) -> None:
    assert network(window=window)(torch.randn(1, 2, 9000)).isfinite().all()


def test_other_windows_are_refused() -> None:
    with pytest.raises(InputError, match=r"cannot use window 512: choose one of .*4096"):
        network(window=512)


def test_silence_stays_silent() -> None:
    assert not network()(torch.zeros(2, 2, 3000)).any()


def test_stems_scale_with_the_mixture() -> None:
    model, mixture = network(), 0.1 * torch.randn(2, 2, 3000)
    torch.testing.assert_close(model(0.03 * mixture), 0.03 * model(mixture), rtol=1e-3, atol=1e-6)


def test_bfloat16_agrees_with_float32() -> None:
    model, mixture = network(), torch.randn(2, 2, 3000)
    with torch.autocast("cpu", torch.bfloat16):
        estimate = model(mixture)
    estimate.abs().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    exact = model(mixture)
    assert (estimate.float() - exact).square().mean() < 1e-3 * exact.square().mean()


def test_default_is_the_published_network() -> None:
    with torch.device("meta"):
        ours = HybridDemucs({"magnitude": 2049}, 44100, channels=2, stems=4).demucs
        theirs = torchaudio.models.hdemucs_high(["drums", "bass", "other", "vocals"])
    assert {name: value.shape for name, value in ours.state_dict().items()} == {
        name: value.shape for name, value in theirs.state_dict().items()
    }
