"""Weights of torchaudio's Hybrid Demucs: the estimates equal those of torchaudio's network."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torchaudio
from torch import Tensor

import stemsplit
from stemsplit.errors import InputError
from stemsplit.separation.formats import torchaudio_hdemucs

STEMS = ["drums", "bass", "other", "vocals"]


def network(**sizes: Any) -> torchaudio.models.HDemucs:
    """Hybrid Demucs with random weights, small unless `sizes` says otherwise."""
    torch.manual_seed(0)
    sizes = {"channels": 4, "nfft": 1024, "depth": 5, "sources": STEMS, **sizes}
    return torchaudio.models.HDemucs(**sizes).eval()


def publish(model: torchaudio.models.HDemucs, path: Path) -> Path:
    torch.save(model.state_dict(), path)
    return path


def stereo(seconds: float, level: float = 0.1) -> Tensor:
    """A mixture whose channels differ, with an offset."""
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(2, round(44100 * seconds), generator=generator)
    return level * (samples + 0.5 * samples.flip(0)) + 0.01


def as_in_the_tutorial(model: torchaudio.models.HDemucs, mixture: Tensor) -> Tensor:
    """Normalise by the mean over channels, separate, and scale back."""
    mono = mixture.mean(dim=0)
    stems = model((mixture - mono.mean())[None] / mono.std())
    return stems * mono.std() + mono.mean()


@pytest.mark.parametrize(
    "sizes",
    [{}, {"channels": 8}, {"nfft": 2048, "depth": 6}, {"nfft": 4096, "depth": 6}],
    ids=str,
)
def test_stems_equal_torchaudio(tmp_path: Path, sizes: dict[str, Any]) -> None:
    theirs = network(**sizes)
    ours = stemsplit.load(publish(theirs, tmp_path / "weights.pt"))
    assert ours.targets == tuple(STEMS)
    assert (ours.residual, ours.sample_rate, ours.channels) == (None, 44100, 2)
    assert (ours.wiener_iterations, ours.chunk, ours.overlap) == (0, 441000, 44100)
    assert ours.front_end.window == theirs.nfft
    mixture = stereo(0.3)
    with torch.inference_mode():
        expected = as_in_the_tutorial(theirs, mixture)
        torch.testing.assert_close(ours.network(mixture[None]), expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_published_size_equals_torchaudio(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = torchaudio.models.hdemucs_high(STEMS).eval()
    ours = stemsplit.load(publish(theirs, tmp_path / "hdemucs_high_trained.pt"))
    mixture = stereo(1.0)
    with torch.inference_mode():
        expected = as_in_the_tutorial(theirs, mixture)
        torch.testing.assert_close(ours.network(mixture[None]), expected, rtol=0, atol=1e-5)


def test_separate_adds_only_the_rest_of_the_mixture(tmp_path: Path) -> None:
    theirs, mixture = network(), stereo(0.3)
    ours = stemsplit.load(publish(theirs, tmp_path / "weights.pt"))
    with torch.inference_mode():
        expected = as_in_the_tutorial(theirs, mixture)[0]
    expected = expected + (mixture - expected.sum(dim=0)) / len(STEMS)
    stems = torch.stack(list(ours.separate(mixture, 44100).values()))
    torch.testing.assert_close(stems, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(stems.sum(dim=0), mixture, rtol=0, atol=1e-6)


def test_channels_that_cancel_have_finite_stems(tmp_path: Path) -> None:
    ours = stemsplit.load(publish(network(), tmp_path / "weights.pt"))
    mixture = stereo(0.2)[:1] * torch.tensor([[1.0], [-1.0]])
    stems = torch.stack(list(ours.separate(mixture, 44100).values()))
    assert stems.abs().max() < 10


def test_saved_and_loaded_weights_keep_the_level_of_the_mean(tmp_path: Path) -> None:
    from stemsplit.separation.checkpoint import save

    ours, mixture = stemsplit.load(publish(network(), tmp_path / "weights.pt")), stereo(0.2)
    save(ours, tmp_path / "copy.ckpt")
    copy = stemsplit.load(tmp_path / "copy.ckpt")
    with torch.inference_mode():
        assert torch.equal(copy.network(mixture[None]), ours.network(mixture[None]))


def test_names_and_rate_of_an_entry_are_used() -> None:
    state = network(sources=["a", "b"], audio_channels=1).state_dict()
    separator = torchaudio_hdemucs.checkpoint(state, ["vocals", "accompaniment"], 22050)[
        "separator"
    ]
    assert separator["targets"] == ["vocals", "accompaniment"]
    assert separator["front_end"]["sample_rate"] == 22050
    assert separator["channels"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"freq_emb.embedding.weight": None}, "lack ['freq_emb.embedding.weight']"),
        ({"time_decoder.0.conv_tr.bias": None}, "time_decoder.0.conv_tr.bias"),
        ({"unknown.weight": torch.zeros(1)}, "unknown.weight"),
        ({"freq_decoder.4.conv_tr.weight": torch.zeros(4, 12, 8, 1)}, "has 3 stems, not 4"),
        ({"freq_emb.embedding.weight": torch.zeros(100, 4)}, "window 800"),
    ],
    ids=lambda value: str(list(value)) if isinstance(value, dict) else "",
)
def test_wrong_weights_are_refused_in_one_line(
    tmp_path: Path, change: dict[str, Tensor | None], message: str
) -> None:
    path = tmp_path / "weights.pt"
    state = {**network().state_dict(), **change}
    torch.save({name: value for name, value in state.items() if value is not None}, path)
    with pytest.raises(InputError) as refused:
        stemsplit.load(path)
    line = str(refused.value)
    assert line.startswith(f"{path}: ")
    assert message in line
    assert "\n" not in line
