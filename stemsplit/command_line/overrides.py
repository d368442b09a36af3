"""Read Hydra's overrides on a command line, and refuse those that no command accepts."""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from stemsplit.errors import InputError
from stemsplit.settings.defaults import kinds_of
from stemsplit.settings.help import CONF
from stemsplit.settings.suggestions import near
from stemsplit.sweeps.search_space import is_group


def parsed(settings: Sequence[str]) -> list[Override]:
    overrides: list[Override] = []
    for setting in settings:
        name, equals, _ = setting.partition("=")
        if not name:
            raise InputError(f"{setting}: not a setting; expected SETTING=VALUE")
        try:
            overrides += OverridesParser.create().parse_overrides([setting])
        except HydraException:
            raise InputError(
                f"{setting}: invalid value; quote special characters, as in \"{name}='VALUE'\""
                if equals
                else f"{setting}: not a setting; expected SETTING=VALUE"
            ) from None
    return overrides


def check_choices(settings: Sequence[str]) -> None:
    """Raise `InputError` if a group gets no option, or a setting gets several values.

    In a sweep, a setting can have several values, but this function is called with one of them at
    a time. Of the groups, only ``scheduler`` can be removed.
    """
    for override in parsed(settings):
        if override.is_sweep_override():
            raise InputError(f"{override.input_line}: several values need a sweep; add -m")
        files = sorted(Path(CONF, override.key_or_group).glob("*.yaml"))
        is_named = not override.is_delete() and isinstance(override.value(), str)
        if files and not (is_named or override.input_line == "~scheduler"):
            names = ", ".join(path.stem for path in files)
            raise InputError(f"{override.input_line}: choose one of {names}")


def unknown(command: str, settings: Sequence[str]) -> str | None:
    """The error message for the first setting that is not in conf/; None if all are.

    The message suggests similar names.
    """
    for override in parsed(settings):
        name = override.key_or_group
        if not (override.is_add() or name.startswith("hydra") or is_known(name, command)):
            known = names_of(command)
            return f"{override.input_line}: unknown setting{near(name, known)}"
    return None


def names_of(command: str) -> list[str]:
    """The names of all settings of a command and of all groups in conf/."""
    return [*kinds_of(command), *(path.name for path in Path(CONF).iterdir() if path.is_dir())]


def is_known(name: str, command: str = "train") -> bool:
    """Whether there is a setting or a group of this name."""
    known = names_of(command)
    is_prefix = any(setting.startswith(f"{name}.") for setting in known)
    return is_group(name) or name in known or is_prefix
