"""Every setting of conf/ has a declared type, and invalid values are one-line errors."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from stemsplit import configuration
from stemsplit.configuration import CONF
from stemsplit.errors import InputError
from stemsplit.settings.check import check, check_value, settings_of
from stemsplit.settings.tables import COMMANDS, TRAIN

configuration.register_resolvers()
INVALID = [[["nested"]]]  # invalid for every setting


def composed(command: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(config_dir=CONF):
        config = compose(command, [*overrides, "data=musdb18", "data.root=/songs"])
    values = {"run_dir": "/run", "name": "model", "corpus": "musdb18"}
    for key in set(values) & set(config):
        OmegaConf.update(config, key, values[key])
    return config


def settings_in_files() -> Iterator[tuple[str, Any]]:
    """The full name and the value of every setting in the files of conf/."""
    for path in sorted(Path(CONF).rglob("*.yaml")):
        text = path.read_text()
        package = ".".join(path.relative_to(CONF).parent.parts)
        command = path.stem if not package and path.stem in COMMANDS else "train"
        prefix = "" if not package or "@package _global_" in text else f"{package}."
        config = OmegaConf.create(text)
        config.pop("defaults", None)
        for name, value in leaves(config, prefix, COMMANDS[command]):
            yield f"{command}: {name}", value


def leaves(config: DictConfig, prefix: str, kinds: Any) -> Iterator[tuple[str, Any]]:
    for key, value in OmegaConf.to_container(config).items():
        name = f"{prefix}{key}"
        if key.startswith("_") or (name == "hydra" or name.startswith("hydra.sweeper.params")):
            continue
        if isinstance(value, dict) and name not in kinds:
            yield from leaves(OmegaConf.create(value), f"{name}.", kinds)
        else:
            yield name, value


SETTINGS = dict(settings_in_files())


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_rejects_invalid_values(setting: str) -> None:
    """Also values of similar types: text for a number, a number for a flag, a list for a value."""
    command, name = setting.split(": ")
    default = SETTINGS[setting]
    kinds = COMMANDS[command]
    if default is None and name in ("data", "scheduler"):  # the group is left out
        return
    if default in (
        "${loss}",
        "${optimizer}",
        "${scheduler}",
    ):  # these groups are checked themselves
        return
    assert name in kinds, f"declare {name} in stemsplit/settings/tables.py"
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


@pytest.mark.parametrize(
    ("setting", "allowed", "refused"),
    [
        ("epochs", [1, 1000, -1], [0, -2, 1.5, True, "1"]),
        ("trainer.max_steps", [-1, 12], [0, -2]),
        ("trainer.max_epochs", [-1, 3], ["x", 0]),
        ("seed", [0, 2**32 - 1], [-1, 2**32]),
        ("patience", [0, 5], [-1]),
        ("scheduler.factor", [0.3], [0, 1, 1.5, -0.1]),
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
        check_value(setting, value, TRAIN)
    for value in refused:
        with pytest.raises(InputError, match=f"^{re.escape(setting)}="):
            check_value(setting, value, TRAIN)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_checks_all_its_settings(command: str) -> None:
    config = composed(command)
    check(config, command)
    names = [name for name, *_ in settings_of(config, COMMANDS[command])]
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
        check_value("targets", [None, True, "a"], TRAIN)
