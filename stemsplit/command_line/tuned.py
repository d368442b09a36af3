"""Read ``tuned=FILE``, a sweep's ``best.yaml``, as settings of the command line."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.types import Quote, QuotedString, Transformer
from omegaconf import OmegaConf

from stemsplit.command_line.overrides import is_known
from stemsplit.errors import InputError
from stemsplit.settings.paths import quote, unquoted
from stemsplit.sweeps.search_space import is_group

OVERRIDE = "override /"  # in a defaults list: choose another option of a group


def tuned(arguments: Sequence[str]) -> list[str]:
    """Insert the settings of ``tuned=FILE`` first, so that all other settings override them."""
    others = [word for word in arguments if not word.startswith("tuned=")]
    files = [unquoted(word.partition("=")[2]) for word in arguments if word not in others]
    if not files or files[-1] == "null":
        return list(arguments)
    if not files[-1]:
        raise InputError("tuned=: choose the best.yaml of a sweep")
    path = Path(files[-1])
    try:
        words = words_in(path)
    except InputError as error:
        raise InputError(f"{path}: {error}; tuned= takes the best.yaml of a sweep") from None
    print(f"{path}: {' '.join(words)}")
    first = next(
        (place for place, word in enumerate(others) if "=" in word and word[0] != "-"), len(others)
    )
    return [*others[:first], *words, *others[first:], f"tuned={quote(str(path))}"]


def words_in(path: Path) -> list[str]:
    """The choices of groups and the settings in a file, as words of a command line.

    The file is a Hydra configuration: nested settings, and ``override /GROUP: OPTION`` in its
    defaults list. Sweeps before December 2026 wrote flat settings: ``optimizer.lr: 0.001``.
    """
    try:
        content: Any = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"is damaged ({error!s})"
        raise InputError(" ".join(str(reason).split())) from None
    if not isinstance(content, dict) or not content:
        raise InputError("holds no settings")
    choices = dict(chosen_in(content.pop("defaults", None) or []))
    settings = {str(name).lstrip("+"): value for name, value in leaves(content)}
    choices |= {name: value for name, value in settings.items() if is_group(name)}
    for name in (*choices, *settings):
        if not is_known(name.partition(".")[0]):
            raise InputError(f"unknown setting {name!r}")
    return [
        *(f"{group}={option}" for group, option in choices.items()),
        # ++, since a sweep may have added settings that conf/ does not have.
        *(f"++{name}={in_grammar(settings[name])}" for name in settings if name not in choices),
    ]


def chosen_in(defaults: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """Groups and their options in a defaults list."""
    for entry in defaults:
        if entry == "_self_":
            continue
        pairs = entry.items() if isinstance(entry, dict) else [(str(entry), None)]
        for group, option in pairs:
            if not (str(group).startswith(OVERRIDE) and isinstance(option, str)):
                raise InputError(f"unexpected entry {entry!r} in the defaults list")
            yield group.removeprefix(OVERRIDE), option


def leaves(settings: Mapping[str, Any], inside: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values of nested settings: ``{a: {b: 1}}`` gives ``a.b``, 1."""
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{inside}{key}.")
        else:
            yield f"{inside}{key}", value


def in_grammar(value: Any) -> str:
    """Write a value in Hydra's grammar. Text is quoted, because it could look like a number."""
    is_text = isinstance(value, str)
    return str(Transformer.str(QuotedString(value, Quote.single) if is_text else value))
