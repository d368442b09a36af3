"""Every setting of conf/ has a type, and invalid values are one-line errors."""

import math
import re
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from stemsplit import configuration
from stemsplit.configuration import CONF
from stemsplit.errors import InputError
from stemsplit.settings.check import check, check_value, settings_of
from stemsplit.settings.defaults import defaults, kind_of, kinds_of
from stemsplit.settings.ranges import COMMANDS

configuration.register_resolvers()
KINDS = kinds_of("train")
INVALID = [[["nested"]]]  # invalid for every setting


def composed(command: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(config_dir=CONF):
        config = compose(command, [*overrides, "data=musdb18", "data.root=/songs"])
    values = {"run_dir": "/run", "name": "model", "corpus": "musdb18"}
    for key in set(values) & set(config):
        OmegaConf.update(config, key, values[key])
    return config


SETTINGS = {(command, name): value for command in COMMANDS for name, value in defaults(command)}


@pytest.mark.parametrize(("command", "name"), SETTINGS)
def test_every_setting_rejects_invalid_values(command: str, name: str) -> None:
    """Also values of similar types: text for a number, a number for a flag, a list for a value."""
    default = SETTINGS[command, name]
    kinds = kinds_of(command)
    if name not in kinds:  # a group that is null, or that refers to another group
        assert default in (None, "${loss}", "${optimizer}", "${scheduler}")
        return
    bad: list[Any] = [INVALID, ""]
    if name == "trainer.devices":  # allows a number, a word or a list
        bad += [1.5, "many", True]
    elif isinstance(default, bool):
        bad += ["maybe", 7.5, None]
    elif isinstance(default, int | float):
        bad += ["abc", math.nan, math.inf, [default]]
    elif isinstance(default, list):
        bad += ["abc", 1, {"a": default}]
    elif isinstance(default, str) and "${" not in default:
        bad += [12345, True, [default]]
    for value in bad:
        with pytest.raises(InputError, match=f"^{re.escape(name)}=.*: choose "):
            check_value(name, value, kinds)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_number_has_a_range(command: str) -> None:
    numbers = {name for name, value in defaults(command) if type(value) in (int, float)}
    assert numbers <= set(COMMANDS[command])


@pytest.mark.parametrize(
    ("setting", "allowed", "refused"),
    [
        ("epochs", [1, 1000, -1], [0, -2, 1.5, True, "1"]),
        ("trainer.max_steps", [-1, 12], [0, -2]),
        ("trainer.max_epochs", [-1, 3], ["x", 0]),
        ("seed", [0, 2**32 - 1], [-1, 2**32]),
        ("patience", [0, 5], [-1]),
        ("scheduler.factor", [0.3], [0, 1, 1.5, -0.1]),
        ("scheduler.step_size", [1], [0, 1.5]),
        ("scheduler.gamma", [0.98, 1], [0, -1]),
        ("optimizer.lr", [1e-3, 1], ["abc", 0, -1, math.nan]),
        ("optimizer.weight_decay", [0, 0.1], [-1e-5]),
        ("targets", [["vocals"], ["vocals", "drums"]], [[], ["a", "a"], "vocals", [1], None]),
        ("stems", [None, ["a"]], [[]]),
        ("sample_rate", [44100], [0, -1, 44100.5]),
        ("channels", [1, 2], [0]),
        ("window", [4096], [0, 2]),
        ("hop", [1024], [0]),
        ("chunk_seconds", [6, 0.5], [0, -1]),
        ("data.batch_size", [1], [0, -1, 1.5]),
        ("data.workers", [0, 4], [-1]),
        ("data.root", ["/a", None], ["", 12345]),
        ("data.validation_chunks", [None, 4], [0]),
        ("data.sounding", [0, 0.5, 1], [-0.1, 1.1]),
        ("data.augment.mono", [0, 1], [-0.1, 2]),
        ("data.augment.gain", [[0.25, 1.25], [1, 1]], [[1.25, 0.25], [1], [1, 2, 3], 1, [-1, 1]]),
        ("data.augment.snr_decibels", [None, [-5, 5]], [[5, -5], 0]),
        ("data.downsample.rate", [1, 0.5], [0, 1.5, -1]),
        ("data.remix", [True, False], ["yes", 1, None]),
        ("model.separator.network.dropout", [0, 0.4], [1, -0.1]),
        ("model.separator.network.views", [["mel"]], [[], ["mal"], ["mel", "mel"]]),
        ("model.separator.network.sub_bands", [1, 8], [0, -2]),
        ("model.separator.network.bottleneck", [1, 8], [0, -2]),
        ("model.separator.wiener_iterations", [0, 2], [-1, 0.5]),
        ("model.separator.overlap_seconds", [2.0], [0, -1]),
        ("trainer.devices", [1, -1, "auto", [0, 1], "0,1"], [0, -2, "many", [], True]),
        ("trainer.precision", ["bf16-mixed", 32, "32"], ["half", 8, "16-true", "bf16-true"]),
        ("trainer.accelerator", ["auto", "cpu", "gpu", "cuda"], ["quantum", 1]),
        ("trainer.strategy", ["auto", "ddp"], ["dpp", None]),
        ("trainer.gradient_clip_val", [None, 0, 5.0], [-1]),
        ("trainer.fast_dev_run", [False, True, 2], [-1, "yes"]),
        ("callbacks.trial.pruner", [None, "median", "halving"], ["medain"]),
        ("callbacks.layers.factor", [100], [1]),
        ("hydra.sweeper.sampler", ["grid", "tpe"], ["random"]),
        ("hydra.sweeper.jobs", [1], [0, "x"]),
    ],
)
def test_allowed_and_rejected_values(setting: str, allowed: list[Any], refused: list[Any]) -> None:
    for value in allowed:
        check_value(setting, value, KINDS)
    for value in refused:
        with pytest.raises(InputError, match=f"^{re.escape(setting)}="):
            check_value(setting, value, KINDS)


@pytest.mark.parametrize(
    ("values", "allowed", "rejected"),
    [
        ([5, 7], [3, -1], [0.5, "5", True, None]),
        ([5, 0.5], [3, 0.1], ["5", True]),
        ([False], [True], [1, "true"]),
        (["attention"], ["lstm"], ["", 1, True]),
        ([[1, 2]], [[3], []], [1, ["a"], [0.5]]),
        ([None, 5], [None, 3], [0.5]),
        ([None], [None, 3, "a"], []),
        (["${hop}"], [3, "a"], []),
    ],
)
def test_undeclared_setting_has_the_type_of_its_defaults(
    values: list[Any], allowed: list[Any], rejected: list[Any]
) -> None:
    kinds = {"kernel": kind_of(values)}
    for value in allowed:
        check_value("kernel", value, kinds)
    for value in rejected:
        with pytest.raises(InputError, match=r"^kernel=.*: choose "):
            check_value("kernel", value, kinds)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_checks_all_its_settings(command: str) -> None:
    config = composed(command)
    check(config, command)
    names = [name for name, *_ in settings_of(config, kinds_of(command))]
    assert {"data.root", "seed", "data.augment.gain"} <= set(names)
    for name in ("seed", "data.batch_size", "data.lister", "data.cache", "targets"):
        broken = config.copy()
        OmegaConf.update(broken, name, INVALID, merge=False)
        with pytest.raises(InputError, match=": choose "):
            check(broken, command)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+foo=1"], "foo=1: unknown setting"),
        (["+epoch=1"], "epoch=1: unknown setting; did you mean epochs"),
        (["model.separator.network=3"], "model.separator.network is a group"),
        (["callbacks.excerpts=false"], "callbacks.excerpts is a group"),
    ],
)
def test_unknown_names_and_replaced_groups_are_rejected(overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        check(composed("train", *overrides), "train")


def test_optional_groups_and_additional_arguments_are_accepted() -> None:
    """Groups can be set to null, and classes can get arguments that conf/ does not declare."""
    overrides = ["~scheduler", "callbacks.excerpts=null", "data.augment=null", "callbacks=ema"]
    check(composed("train", *overrides, "+optimizer.betas=[0.8,0.9]"), "train")


def test_error_shows_value_in_command_line_syntax() -> None:
    with pytest.raises(InputError, match=r"^targets=\[null,true,a\]: choose"):
        check_value("targets", [None, True, "a"], KINDS)
