"""Take the settings of ``tuned=FILE``, a sweep's ``best.yaml``, into a command line."""

import re
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.types import Quote, QuotedString, Transformer
from omegaconf import OmegaConf

from stemsplit.command_line.overrides import is_known
from stemsplit.errors import InputError
from stemsplit.settings.help import CONF
from stemsplit.settings.paths import quote, unquoted

SETTING = re.compile(r"\+{0,2}[A-Za-z_][\w.@/]*")


def tuned(arguments: list[str]) -> list[str]:
    """The arguments with the settings of ``tuned=FILE``, a sweep's ``best.yaml``, put in front.

    So the settings beside it win, and Hydra checks those of the file as all others.
    """
    others = [word for word in arguments if not word.startswith("tuned=")]
    files = [unquoted(word.partition("=")[2]) for word in arguments if word not in others]
    if not files or files[-1] == "null":
        return arguments
    if not files[-1]:
        raise InputError("tuned=: choose a sweep's best.yaml")
    path = Path(files[-1])
    try:
        found = OmegaConf.load(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        why = error.strerror if isinstance(error, OSError) else f"is damaged ({error!s})"
        line = " ".join(str(why).split())
        raise InputError(f"{path}: {line}; tuned= takes a sweep's best.yaml") from None
    settings: Any = OmegaConf.to_container(found)
    if not isinstance(settings, dict) or not settings:
        raise InputError(f"{path}: holds no settings; tuned= takes a sweep's best.yaml")
    words = [f"{name}={Transformer.str(quoted(value))}" for name, value in settings.items()]
    for name, value in settings.items():
        is_group = isinstance(value, dict) and Path(CONF, str(name)).is_dir()
        if not SETTING.fullmatch(str(name)) or is_group or not is_known(str(name)):
            raise InputError(
                f"{path}: {name} is no setting of a training; tuned= takes a sweep's best.yaml"
            )
    print(f"{path}: {' '.join(words)}")
    first = next(
        (place for place, word in enumerate(others) if "=" in word and word[0] != "-"), len(others)
    )
    return [*others[:first], *words, *others[first:], f"tuned={quote(str(path))}"]


def quoted(value: Any) -> Any:
    """A value in Hydra's grammar, which reads a string of digits without quotes as a number."""
    return QuotedString(value, Quote.single) if isinstance(value, str) else value
