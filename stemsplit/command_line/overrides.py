"""Hydra's overrides on a command line: read them, and refuse those that cannot be meant."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from stemsplit.errors import InputError
from stemsplit.settings.check import near
from stemsplit.settings.defaults import kinds_of
from stemsplit.settings.help import CONF


def parsed(settings: Sequence[str]) -> list[Override]:
    overrides: list[Override] = []
    for setting in settings:
        name, equals, _ = setting.partition("=")
        if not name:
            raise InputError(f"{setting}: is not a setting; say SETTING=VALUE")
        try:
            overrides += OverridesParser.create().parse_overrides([setting])
        except HydraException:
            raise InputError(
                f"{setting}: cannot be read; put a value with special characters in quotes, as in "
                f"\"{name}='VALUE'\""
                if equals
                else f"{setting}: is not a setting; say SETTING=VALUE"
            ) from None
    return overrides


def check_choices(settings: Sequence[str]) -> None:
    """Raise `InputError` for a group without a name, and for several values of one training.

    Of the groups, a training can do without ``scheduler`` only.
    """
    for override in parsed(settings):
        if override.is_sweep_override():
            raise InputError(f"{override.input_line}: several values make a sweep: say -m as well")
        files = sorted(Path(CONF, override.key_or_group).glob("*.yaml"))
        is_named = not override.is_delete() and isinstance(override.value(), str)
        if files and not (is_named or override.input_line == "~scheduler"):
            names = ", ".join(path.stem for path in files)
            raise InputError(f"{override.input_line}: choose one of {names}")


def unknown(command: str, settings: Sequence[str]) -> str | None:
    """The first setting of a command line that conf/ does not have, and the ones it may mean."""
    for override in parsed(settings):
        name = override.key_or_group
        if not (override.is_add() or name.startswith("hydra") or is_known(name, command)):
            known = names_of(command)
            return f"{override.input_line}: unknown setting{near(name, known)}"
    return None


def names_of(command: str) -> list[str]:
    """The settings of a command and its groups."""
    return [*kinds_of(command), *(path.name for path in Path(CONF).iterdir() if path.is_dir())]


def is_known(name: str, command: str = "train") -> bool:
    """Whether conf/ has a setting or a group; what ``+`` adds is left to what takes it."""
    known = names_of(command)
    return (
        name.startswith("+")
        or name in known
        or any(setting.startswith(f"{name}.") for setting in known)
    )


def jobs_of(settings: Sequence[str]) -> list[list[str]]:
    """Settings of jobs that together have every value of a sweep, as few as possible.

    Of a range between bounds they have its two ends.
    """
    words: list[list[str]] = []
    for override in parsed(settings):
        if not override.is_sweep_override():
            words.append([override.input_line or ""])
            continue
        key = (override.input_line or "").partition("=")[0]
        if override.is_discrete_sweep():
            values = list(override.sweep_string_iterator())
        else:
            interval: Any = override.value()
            values = [str(interval.start), str(interval.end)]
        words.append([f"{key}={value}" for value in values])
    most = max(map(len, words), default=1)
    return [[values[min(job, len(values) - 1)] for values in words] for job in range(most)]
