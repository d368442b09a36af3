"""Weights of SCNet as its authors publish them: a separator with the authors' network."""

from pathlib import Path
from typing import Any

import pytest
import torch
from published_scnet import weights
from torch import Tensor

import stemsplit
from stemsplit.errors import InputError
from stemsplit.separation.bag import fit_together
from stemsplit.separation.checkpoint import save
from stemsplit.separation.formats import scnet


@pytest.fixture(autouse=True)
def small_transform(monkeypatch: pytest.MonkeyPatch) -> None:
    """The window of the network in `published_scnet`."""
    monkeypatch.setattr(scnet, "WINDOW", 256)
    monkeypatch.setattr(scnet, "HOP", 64)


def publish(content: dict[str, Any], path: Path) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    "content",
    [
        weights(),
        {"state": weights()},
        {"state_dict": weights()},
        {"best_state": {f"module.{name}": value for name, value in weights().items()},
         "state": {}, "epoch": 3},
    ],
    ids=["alone", "state", "state_dict", "best_state"],
)  # fmt: skip
def test_weights_load_from_every_published_form(content: dict[str, Any], tmp_path: Path) -> None:
    separator = stemsplit.load(publish(content, tmp_path / "scnet_checkpoint_musdb18.ckpt"))
    assert separator.targets == scnet.STEMS
    assert (separator.residual, separator.sample_rate, separator.channels) == (None, 44100, 2)
    assert (separator.wiener_iterations, separator.chunk, separator.overlap) == (0, 485100, 44100)
    assert separator.front_end.window_function.eq(1).all()
    assert separator.network.mono_level
    mixture = 0.1 * torch.randn(2, 30_000, generator=torch.Generator().manual_seed(0))
    stems = torch.stack(list(separator.separate(mixture, 44100).values()))
    torch.testing.assert_close(stems.sum(dim=0), mixture, rtol=0, atol=1e-6)
    save(separator, tmp_path / "copy.ckpt")
    copy = stemsplit.load(tmp_path / "copy.ckpt").separate(mixture, 44100)
    assert torch.equal(torch.stack(list(copy.values())), stems)


def test_networks_of_spectra_and_of_masks_are_no_bag(tmp_path: Path) -> None:
    separator = stemsplit.load(publish(weights(), tmp_path / "weights.ckpt"))
    masks = stemsplit.separation.checkpoint.build(
        separator.front_end_settings,
        {"class": "stemsplit.models.mlp.Mlp", "bandwidth_hertz": 16000, "hidden": 8},
        targets=["choir"],
        residual="rest",
        channels=2,
    )
    assert not fit_together([separator, masks])


def test_names_and_rate_of_an_entry_are_used() -> None:
    names = ["a", "b", "c", "d"]
    described = scnet.checkpoint(weights(), names, 22050)["separator"]
    assert described["targets"] == names
    assert described["front_end"]["sample_rate"] == 22050


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder.1.1.convtrs.0.weight": None}, "incomplete: copy the file again"),
        ({"separation_net.dp_modules.1.norm_layers.0.bias": None}, "norm.bias"),
        ({"unknown.weight": torch.zeros(1)}, "unknown.weight"),
        ({"decoder.1.1.convtrs.0.weight": torch.zeros(8, 12, 3, 1)}, "has 3 stems, not 4"),
        ({"encoder.1.globalconv.bias": torch.zeros(3)}, "joined.bias"),
    ],
    ids=lambda value: str(list(value)) if isinstance(value, dict) else "",
)
def test_wrong_weights_are_refused_in_one_line(
    tmp_path: Path, change: dict[str, Tensor | None], message: str
) -> None:
    content = {name: value for name, value in {**weights(), **change}.items() if value is not None}
    path = publish(content, tmp_path / "weights.ckpt")
    with pytest.raises(InputError) as refused:
        stemsplit.load(path)
    line = str(refused.value)
    assert line.startswith(f"{path}: ")
    assert message in line
    assert "\n" not in line
