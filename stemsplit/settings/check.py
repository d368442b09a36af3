"""Check a composed configuration against the declared types and ranges of its settings."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pydantic import ConfigDict, TypeAdapter, ValidationError

from stemsplit.errors import InputError
from stemsplit.settings.defaults import kinds_of
from stemsplit.settings.kinds import Kind
from stemsplit.settings.ranges import GROUPS
from stemsplit.settings.suggestions import near

SWEEPER = [f"hydra.sweeper.{name}" for name in GROUPS["hydra.sweeper"]]
# Keys that tell Hydra which object to instantiate; `configuration.may_make` checks the objects.
INSTANTIATION = ("_target_", "_partial_", "_convert_", "_args_")
# Groups that cannot be left out. All other groups can be set to null.
REQUIRED = (
    "model.separator",
    "model.separator.front_end",
    "model.separator.network",
    "model.loss",
    "loss.function",
    "model.optimizer",
    "data.downsample",
)


def check(config: DictConfig, command: str) -> None:
    """Raise `InputError` for the first setting with an invalid name or value.

    Additional arguments of a class (``+optimizer.betas=…``) are not checked; the class checks them.
    """
    kinds = kinds_of(command)
    for name in REQUIRED:
        parent, _, key = name.rpartition(".")
        group = OmegaConf.select(config, parent)
        if isinstance(group, DictConfig) and key in group and group[key] is None:
            raise InputError(f"{name}=null: this group is required")
    for name, value, is_argument in settings_of(config, kinds):
        if name in kinds or value is None or is_group(name, kinds):
            check_value(name, value, kinds)
        elif not is_argument:
            raise InputError(f"{name}={shown(value)}: unknown setting{near(name, kinds)}")
    swept = OmegaConf.select(config, "hydra.sweeper.params") is not None
    for name in SWEEPER if swept else []:
        check_value(name, OmegaConf.select(config, name), kinds)


def settings_of(config: DictConfig, kinds: Mapping[str, Kind]) -> Iterator[tuple[str, Any, bool]]:
    """Yield for each setting its name, its value, and whether it is an argument of a class.

    Settings with references (``${…}``) come last, so that resolvers get only values that the caller
    has already checked.
    """
    for referring in (False, True):
        yield from _settings_of(config, kinds, referring, "", False)


def _settings_of(
    config: DictConfig, kinds: Mapping[str, Kind], referring: bool, prefix: str, is_argument: bool
) -> Iterator[tuple[str, Any, bool]]:
    is_argument = is_argument or bool({"_target_", "class"} & set(config))
    for key in map(str, config):
        name = f"{prefix}{key}"
        if key in INSTANTIATION or name == "hydra":
            continue
        refers = OmegaConf.is_interpolation(config, key)
        if refers and not referring:
            continue
        value = config[key]
        if name in kinds or not isinstance(value, DictConfig):
            if refers == referring:
                yield name, plain(value), is_argument
        elif not refers:  # skip a reference to another group, because that group is checked itself
            yield from _settings_of(value, kinds, referring, f"{name}.", is_argument)


def plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def is_group(name: str, kinds: Iterable[str]) -> bool:
    return any(known.startswith(f"{name}.") for known in kinds)


def check_value(name: str, value: Any, kinds: Mapping[str, Kind]) -> None:
    """Raise `InputError` if the type or range of a setting does not allow the value."""
    kind = kinds.get(name)
    if kind is None:
        if value is not None:  # null leaves a group out
            raise InputError(f"{name}={shown(value)}: {name} is a group, not a single setting")
        return
    try:
        adapter(kind.type).validate_python(value)
    except ValidationError:
        raise InputError(f"{name}={shown(value)}: choose {kind.allowed}") from None


@cache
def adapter(kind: Any) -> Any:  # Any, because beartype does not support pydantic's TypeAdapter
    return TypeAdapter(kind, config=ConfigDict(strict=True, allow_inf_nan=False))


def shown(value: Any) -> str:
    """Format a value as the user would type it on the command line."""
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"[{','.join(map(shown, value))}]"
    if isinstance(value, str) and needs_quotes(value):
        return f"'{value}'"
    return str(value).lower() if isinstance(value, bool) else str(value)


def needs_quotes(text: str) -> bool:
    """Whether Hydra would read the unquoted text as a number, a flag, null or an empty value."""
    if text in ("", "true", "false", "null"):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True
