"""Check a composed configuration against the declared types of its settings."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pydantic import ConfigDict, TypeAdapter, ValidationError

from stemsplit.errors import InputError
from stemsplit.settings.kinds import Kind
from stemsplit.settings.tables import COMMANDS, GROUPS

# Keys that say what is made of a group, and how. `configuration.may_make` limits it.
SWEEPER = [f"hydra.sweeper.{name}" for name in GROUPS["hydra.sweeper"]]
MAKING = ("_target_", "_partial_", "_convert_", "_args_")


# Groups that nothing can do without; null leaves any other one out.
REQUIRED = (
    *("model.separator", "model.separator.front_end", "model.separator.network"),
    *("model.loss", "loss.function", "model.optimizer", "data.downsample"),
)


def check(config: DictConfig, command: str) -> None:
    """Raise `InputError` for the first setting that cannot be used: ``setting=value: …``.

    Arguments that conf/ does not declare (``+optimizer.betas=…``) are left to what takes them.
    """
    kinds = COMMANDS[command]
    for name in REQUIRED:
        parent, _, key = name.rpartition(".")
        group = OmegaConf.select(config, parent)
        if isinstance(group, DictConfig) and key in group and group[key] is None:
            raise InputError(f"{name}=null: cannot be left out")
    for name, value, is_argument in settings_of(config, kinds):
        if name in kinds or value is None or is_group(name, kinds):
            check_value(name, value, kinds)
        elif not is_argument:
            raise InputError(f"{name}={shown(value)}: unknown setting{near(name, kinds)}")
    for name in SWEEPER if OmegaConf.select(config, "hydra.sweeper.params") is not None else ():
        check_value(name, OmegaConf.select(config, name), kinds)


def settings_of(config: DictConfig, kinds: Mapping[str, Kind]) -> Iterator[tuple[str, Any, bool]]:
    """Name and value of every setting, and whether it is an argument of what a group makes.

    Settings that refer to others come last, so that a resolver gets values that were checked.
    """
    for referring in (False, True):
        yield from _settings_of(config, kinds, referring, "", False)


def _settings_of(
    config: DictConfig, kinds: Mapping[str, Kind], referring: bool, prefix: str, is_argument: bool
) -> Iterator[tuple[str, Any, bool]]:
    is_argument = is_argument or bool({"_target_", "class"} & set(config))
    for key in map(str, config):
        name = f"{prefix}{key}"
        if key in MAKING or name == "hydra":
            continue
        refers = OmegaConf.is_interpolation(config, key)
        if refers and not referring:
            continue
        value = config[key]
        if name in kinds or not isinstance(value, DictConfig):
            if refers == referring:
                yield name, plain(value), is_argument
        elif not refers:  # the settings of another group are checked in their own place
            yield from _settings_of(value, kinds, referring, f"{name}.", is_argument)


def plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def is_group(name: str, kinds: Iterable[str]) -> bool:
    return any(known.startswith(f"{name}.") for known in kinds)


def check_value(name: str, value: Any, kinds: Mapping[str, Kind]) -> None:
    """Raise `InputError` if the kind of a setting does not allow the value."""
    kind = kinds.get(name)
    if kind is None:
        if value is not None:  # null leaves a group out
            raise InputError(f"{name}={shown(value)}: {name} is a group, not one setting")
        return
    try:
        adapter(kind.type).validate_python(value)
    except ValidationError:
        raise InputError(f"{name}={shown(value)}: choose {kind.allowed}") from None


@cache
def adapter(kind: Any) -> Any:  # beartype does not know pydantic's TypeAdapter
    return TypeAdapter(kind, config=ConfigDict(strict=True, allow_inf_nan=False))


def shown(value: Any) -> str:
    """A value as the command line has it."""
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"[{','.join(map(shown, value))}]"
    if isinstance(value, str) and is_something_else(value):
        return f"'{value}'"
    return str(value).lower() if isinstance(value, bool) else str(value)


def is_something_else(text: str) -> bool:
    """Whether a text without its quotes would be a number, a flag, null or nothing."""
    if text in ("", "true", "false", "null"):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def near(name: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown name: the names that are most like it."""
    known = list(known)
    names = [one for one in known if one.endswith(f".{name}")][:3]
    names = names or difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(names)}?" if names else ""
