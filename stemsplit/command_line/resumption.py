"""Reuse the configuration of a run: resume the run, or score it on this machine."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from stemsplit.configuration import has_setting, saved
from stemsplit.errors import InputError

# Settings that a resumed run can change. All others determine its weights, optimiser or excerpts.
CHANGEABLE = (
    "allow_changed_corpus",
    "callbacks",
    "checkpoint_minutes",
    "data.also",
    "data.cache",
    "data.root",
    "data.validation_chunks",
    "data.workers",
    "epochs",
    "evaluate_test",
    "logger",
    "patience",
    "trainer",
)


def resumed(folder: str, words: Sequence[str], cache: str) -> DictConfig:
    """Load the configuration of a run to resume, and apply the settings of the command line.

    `words` are the arguments of the command, `cache` is the cache folder of this machine (see
    `move_cache`). Raises `InputError` for settings that a resumed run cannot change, and for a run
    without a checkpoint.
    """
    run = Path(folder).absolute()
    config = saved(run)
    names = override(config, [word for word in words if not word.startswith(("resume=", "hydra."))])
    move_cache(config, cache, names)
    if not (run / "last.ckpt").is_file():
        raise InputError(f"{run}: has no last.ckpt yet; start a new run")
    config.resume = str(run)
    return config


def move_cache(config: DictConfig, cache: str, overridden: Collection[str]) -> None:
    """Set the cache folder of a run's configuration to that of this machine, in place.

    `overridden` names the settings of the command line. `cache` comes from the command line, from
    STEMSPLIT_CACHE or from the default. If `cache` is the default, and the run's own cache folder
    exists, the run keeps its own cache folder. Otherwise the run gets `cache`. Then, if the corpus
    was inside the old cache folder (as the demo songs are) and is no longer there, `data.root`
    becomes the corresponding folder in `cache`.
    """
    old_cache = Path(os.path.expanduser(config.data.cache)).resolve()
    is_chosen = "data.cache" in overridden or bool(os.environ.get("STEMSPLIT_CACHE"))
    if not is_chosen and old_cache.is_dir():
        return
    config.data.cache = cache
    if "data.root" in overridden or config.data.root is None:
        return
    root = Path(config.data.root)
    if not root.is_dir() and root.is_relative_to(old_cache):
        config.data.root = str(Path(os.path.expanduser(cache)) / root.relative_to(old_cache))


def override(config: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Replace values of a saved configuration in place; return the names of the settings.

    Raises `InputError` if a setting is not in `CHANGEABLE`, does not exist in the configuration, or
    is a group (``trainer=…``). The value null turns off a part, such as a callback.
    """
    names = []
    for setting in OverridesParser.create().parse_overrides(list(overrides)):
        name = setting.key_or_group
        names.append(name)
        if setting.is_delete() or setting.is_add() or not has_setting(config, name):
            raise InputError(f"{setting.input_line}: unknown setting of the resumed run")
        if not any(name == key or name.startswith(f"{key}.") for key in CHANGEABLE):
            raise InputError(
                f"{setting.input_line}: a resumed run can only change {', '.join(CHANGEABLE)}; "
                "start a new run to change other settings"
            )
        is_group = isinstance(OmegaConf.select(config, name), DictConfig)
        if is_group and not (setting.value() is None and "." in name):
            raise InputError(
                f"{setting.input_line}: a resumed run cannot replace the group {name}; change its "
                f"settings one by one ({name}.KEY=VALUE)"
            )
        OmegaConf.update(config, name, setting.value())
    return names
