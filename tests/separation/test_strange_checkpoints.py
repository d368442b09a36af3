"""Checkpoints from strangers: what is wrong with them is said before memory or time is taken."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_separator import checkpoint_for

import stemsplit
from stemsplit.errors import InputError
from stemsplit.separation.origins import origins


def changed(tmp_path: Path, **settings: Any) -> Path:
    """A small checkpoint with other settings of its separator, or another value of `published`."""
    path = checkpoint_for(tmp_path / "some.ckpt", "vocals")
    content = torch.load(path, weights_only=True)
    if "published" in settings:
        content["published"] = settings.pop("published")
    content["separator"] |= settings
    torch.save(content, path)
    return path


def test_weights_that_repeat_one_number_are_refused(tmp_path: Path) -> None:
    path = changed(tmp_path)
    content = torch.load(path, weights_only=True)
    for name, value in content["state_dict"].items():
        content["state_dict"][name] = torch.zeros(()).expand(value.shape)
    torch.save(content, path)
    with pytest.raises(InputError, match=r"its weights need \d+ bytes, but the file has only"):
        stemsplit.load(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_of_the_network_are_finite(value: float, tmp_path: Path) -> None:
    path = changed(tmp_path, network={"class": "stemsplit.models.mlp.Mlp", "dropout": value})
    with pytest.raises(InputError, match=rf"network\.dropout is {value}"):
        stemsplit.load(path)


@pytest.mark.parametrize("published", [5, "umxhq", [3]])
def test_published_names_are_a_list(published: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"some\.ckpt: `published` .* is not a list of names"):
        origins(changed(tmp_path, published=published))


def test_chunks_are_at_least_as_long_as_the_window(tmp_path: Path) -> None:
    short = {"chunk_seconds": 0.0005, "overlap_seconds": 0.00025}
    path = changed(tmp_path, **short)
    with pytest.raises(InputError, match="shorter than the window"):
        stemsplit.load(path)


def test_networks_that_are_not_listed_are_refused(tmp_path: Path) -> None:
    """Otherwise, each target would get a network whose size was not checked."""
    with pytest.raises(InputError, match=r"not a checkpoint of stemsplit.*network_per_target"):
        stemsplit.load(changed(tmp_path, network_per_target=True))
