"""Frozen parameters and running statistics do not change in a training."""

from collections.abc import Callable
from functools import partial
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from stemsplit.errors import InputError
from stemsplit.separation.checkpoint import build
from stemsplit.training.callbacks.averaging import MovingAverage
from stemsplit.training.freezing import freeze, layers_of, matches
from stemsplit.training.losses import magnitude_mse
from stemsplit.training.module import SeparationModule

BLSTM = {"class": "stemsplit.models.blstm.Blstm", "hidden": 8, "layers": 1}
FRONT_END = {"sample_rate": 8000, "window": 32, "hop": 8, "mel_bands": 4, "mfccs": 2}


def module_with(*patterns: str, **options: Any) -> SeparationModule:
    torch.manual_seed(0)
    separator = build(FRONT_END, BLSTM, ["vocals"], "rest", channels=1)
    optimizer = partial(torch.optim.AdamW, lr=0.1, weight_decay=0.5)
    return SeparationModule(separator, magnitude_mse, optimizer, None, freeze=patterns, **options)


def state_of(module: SeparationModule) -> dict[str, Tensor]:
    network: Any = module.separator.network
    return {name: value.clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [
        ("lstm", True),
        ("branches", True),
        ("branches.*", True),
        ("branches.*.lstm", True),
        ("lstm.weight_*", True),
        ("weight_ih_l0", True),
        ("ls", False),
        ("branches.lstm", False),
        ("encoder", False),
    ],
)
def test_patterns_match_whole_parts_of_names(pattern: str, matching: bool) -> None:
    assert matches("branches.mel.lstm.weight_ih_l0", pattern) == matching


def test_layers_are_listed_once_as_patterns() -> None:
    assert layers_of(["a.0.b.weight", "a.1.b.bias", "a.10.weight", "c"]) == ["a.*.b", "a.*", "c"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"averaged": True},
        pytest.param({"compile": True}, marks=pytest.mark.slow, id="compile"),
    ],
)
def test_frozen_parameters_and_statistics_do_not_change(
    options: dict[str, bool],
    songs: Callable[..., L.LightningDataModule],
    trainer: Callable[..., L.Trainer],
) -> None:
    averaged = options.pop("averaged", False)
    module = module_with("encoder*", "decoder.1", **options)
    if options:  # compiling takes long, and eager code shows whether the modes are kept
        torch.compiler.set_stance("force_eager")
    before = state_of(module)
    trainer(*([MovingAverage()] if averaged else [])).fit(module, songs(4))
    torch.compiler.set_stance("default")
    after = state_of(module)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    frozen = {name for name in before if matches(name, "encoder*") or matches(name, "decoder.1")}
    assert changed == before.keys() - frozen
    assert {"decoder.1.running_mean", "decoder.1.num_batches_tracked"} <= frozen


def test_frozen_parameters_are_not_given_to_the_optimiser() -> None:
    module = module_with("lstm")
    given = {id(weight) for group in module.configure_optimizers().param_groups
             for weight in group["params"]}  # fmt: skip
    named = dict(module.named_parameters())
    assert given == {id(weight) for name, weight in named.items() if ".lstm." not in name}


def test_statistics_freeze_with_all_parameters_of_their_layer() -> None:
    def layers(*patterns: str) -> list[str]:
        network = nn.ModuleDict({"norm": nn.BatchNorm1d(2), "out": nn.Linear(2, 2)})
        return freeze(network, patterns)

    assert layers("norm.weight") == []
    assert layers("norm.weight", "norm.bias") == layers("norm") == ["norm"]
    assert layers() == []
    for buffers in ("running_*", "num_batches_tracked"):
        with pytest.raises(InputError, match=r"matches no parameter.*the layers are norm, out$"):
            layers(buffers)


def test_unknown_pattern_raises_input_error_with_the_layers() -> None:
    with pytest.raises(
        InputError, match=r"'lstmm' matches no parameter; did you mean lstm\?.*lstm"
    ):
        module_with("lstm", "lstmm")


def test_nothing_left_to_train_raises_input_error() -> None:
    with pytest.raises(InputError, match=r"freeze=\[\*\]: leaves no parameter to train"):
        module_with("*")
