"""Find the type of every setting in conf/: `ranges` declares it, or the default value shows it."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from stemsplit.settings.help import CONF, defaults_of
from stemsplit.settings.kinds import ANYTHING, FLAG, INTEGER, NUMBER, TEXT, Kind, list_of, optional
from stemsplit.settings.ranges import COMMANDS


@cache
def kinds_of(command: str) -> Mapping[str, Kind]:
    """The kind of every setting of a command, by its name on the command line.

    Settings that `ranges` does not declare have the type of their defaults in conf/.
    """
    declared = COMMANDS[command]
    values: dict[str, list[Any]] = {}
    for name, value in defaults(command):
        if name not in declared:
            values.setdefault(name, []).append(value)
    groups = {group for name in (*declared, *values) for group in groups_above(name)}
    kinds = {
        name: kind_of(file_values)
        for name, file_values in values.items()
        # Skip groups. A file may set a group to null or to another group, as in ``loss: ${loss}``.
        if name not in groups and not any(referred(value) in groups for value in file_values)
    }
    return {**declared, **kinds}


def defaults(command: str) -> Iterator[tuple[str, Any]]:
    """Yield the name and value of every setting, for each file of conf/ that sets it."""
    for path, package in files_of(command):
        content = OmegaConf.load(path)
        assert isinstance(content, DictConfig)
        for key in ("defaults", "hydra"):
            content.pop(key, None)
        yield from leaves(OmegaConf.to_container(content), package, COMMANDS[command])


def files_of(command: str) -> Iterator[tuple[Path, str]]:
    """Yield the files of conf/ that a command can use, and the prefix of the settings' names.

    The prefix is the group, as in ``optimizer.``. It is empty for files with complete names.
    """
    conf = Path(CONF)
    yield conf / "corpus.yaml", ""
    yield conf / f"{command}.yaml", ""
    for path in sorted(conf.glob("*/*.yaml")):
        group = path.parent.name
        if command == "train" or group in defaults_of(command):
            is_global = "# @package _global_" in path.read_text(encoding="utf-8")
            yield path, "" if is_global else f"{group}."


def leaves(settings: Any, prefix: str, declared: Mapping[str, Kind]) -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if str(key).startswith("_"):  # a key of Hydra, such as _target_
            continue
        if isinstance(value, dict) and name not in declared:
            yield from leaves(value, f"{name}.", declared)
        else:
            yield name, value


def groups_above(name: str) -> Iterator[str]:
    """Yield the groups of a setting: ``a.b`` and ``a`` for ``a.b.c``."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


def referred(value: Any) -> str | None:
    """The name ``x`` if a value is the reference ``${x}``, else None."""
    match = re.fullmatch(r"\$\{([\w.]+)\}", str(value))
    return match and match[1]


def kind_of(values: list[Any]) -> Kind:
    """The kind that allows all `values`, for example `NUMBER` for integers and floats."""
    if None in values:
        return optional(kind_of([value for value in values if value is not None]))
    if all(isinstance(value, bool) for value in values) and values:
        return FLAG
    if any(isinstance(value, bool | dict) or "${" in str(value) for value in values):
        return ANYTHING
    if all(isinstance(value, list) for value in values) and values:
        return list_of(kind_of([item for value in values for item in value]))
    for types, kind in ((str, TEXT), (int, INTEGER), (int | float, NUMBER)):
        if all(isinstance(value, types) for value in values) and values:
            return kind
    return ANYTHING
