"""Prepare a command line for Hydra: quote paths, compose and check the settings.

Hydra creates the folder of a run before it calls the command, and explains an unknown setting on
many lines. Here the configuration is composed first, without writing anything.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString, Transformer
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from stemsplit import configuration
from stemsplit.configuration import CONF
from stemsplit.errors import InputError, settings_at_fault
from stemsplit.files import check_writable
from stemsplit.settings.check import check, near
from stemsplit.settings.paths import quote, quote_paths, unquoted
from stemsplit.settings.tables import COMMANDS

SWEEP = {"-m", "--multirun"}
RUN = {"-r", "--run"}
TUNABLE = re.compile(r"\+{0,2}[A-Za-z_][\w.@/]*")  # what a sweep can try
OPTIONS = (
    SWEEP
    | RUN
    | {
        *(
            "-h",
            "--help",
            "--hydra-help",
            "--version",
            "-c",
            "--cfg",
            "--resolve",
            "-p",
            "--package",
        ),
        *("-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir", "-i", "--info"),
        *("-sc", "--shell-completion", "--experimental-rerun"),
    }
)


LEFT_OUT = {
    "train": ("experiments=null",),
    "evaluate": ("data=null",),
    "doctor": (),
}


class Prepared(NamedTuple):
    """A command line for Hydra, and the folder that Hydra will make for a run."""

    arguments: list[str]
    folder: Path | None = None


def prepared(command: str, arguments: Sequence[str]) -> Prepared:
    """The arguments as Hydra reads them. Raises `InputError` for a setting that cannot be used.

    Every job of a sweep is checked. Hydra's own options (``--cfg``, ``--info``) are left to Hydra.
    """
    flags = {word for word in arguments if word.startswith("-")}
    for flag in sorted(flags):
        if (name := flag.partition("=")[0]) not in OPTIONS:
            raise InputError(f"{flag}: there is no such option{near(name, OPTIONS)}")
    sweeping = bool(flags & SWEEP)
    # null for a group that conf/COMMAND.yaml leaves out: Hydra has no word for it.
    words = [word for word in quote_paths(arguments, sweeping) if word not in LEFT_OUT[command]]
    words = ["~scheduler" if word == "scheduler=null" else word for word in words]
    if command == "train":
        words = tuned(words)
    if flags - SWEEP - RUN:
        return Prepared(words)
    settings = [word for word in words if word not in flags]
    if sweeping:
        for job in jobs_of(settings):
            with composed(command, job) as config:
                check(config, command)
        return Prepared(words)
    with composed(command, settings) as config:
        check(config, command)
        folder = Path(config.hydra.runtime.output_dir)
        if command != "train":
            return Prepared(words)
        if config.resume is not None:
            configuration.resumed(config.resume, settings, config.data.cache)
        cache = Path(config.data.cache).expanduser()
        if not cache.is_dir():  # one that may only be read can hold all songs already
            check_writable(cache, "data.cache")
    words = [word for word in words if not word.startswith("hydra.run.dir=")]
    return Prepared([*words, f"hydra.run.dir={quote(str(folder))}"], folder)


@contextmanager
def composed(command: str, settings: Sequence[str]) -> Iterator[DictConfig]:
    """The configuration as Hydra gives it to the command, ``${hydra:…}`` included."""
    hydra = HydraConfig.instance()
    before = hydra.cfg
    with settings_at_fault():
        config = composition(command, settings)
    try:
        with settings_at_fault():
            hydra.set_config(config)
            folder = os.path.abspath(config.hydra.run.dir)
            with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
                config.hydra.runtime.output_dir = folder
            hydra.set_config(config)
            yield config
    finally:
        hydra.cfg = before


def composition(command: str, settings: Sequence[str]) -> DictConfig:
    """Hydra's composition; its errors in one line, with the names that may be meant."""
    check_choices(settings)
    try:
        with initialize_config_dir(config_dir=CONF, job_name=command):
            return compose(command, overrides=list(settings), return_hydra_config=True)
    except MissingConfigException as error:
        group, _, choice = (error.missing_cfg_file or "").rpartition("/")
        if not group or error.options is None:
            raise InputError(one_line(error)) from None
        raise InputError(
            f"{group}={choice}: there is no such choice; choose one of {', '.join(error.options)}"
        ) from None
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(
            unknown(command, settings) or misplaced(error, settings) or with_cause(error)
        ) from None


def unknown(command: str, settings: Sequence[str]) -> str | None:
    """The first setting of a command line that conf/ does not have, and the ones it may mean."""
    for override in parsed(settings):
        name = override.key_or_group
        if not (override.is_add() or name.startswith("hydra") or is_known(name, command)):
            known = names_of(command)
            return f"{override.input_line}: there is no such setting{near(name, known)}"
    return None


def names_of(command: str) -> list[str]:
    """The settings of a command and its groups."""
    return [*COMMANDS[command], *(path.name for path in Path(CONF).iterdir() if path.is_dir())]


def is_known(name: str, command: str = "train") -> bool:
    """Whether conf/ has a setting or a group; what ``+`` adds is left to what takes it."""
    known = names_of(command)
    return (
        name.startswith("+")
        or name in known
        or any(setting.startswith(f"{name}.") for setting in known)
    )


def misplaced(error: BaseException, settings: Sequence[str]) -> str | None:
    """The setting of another choice of its group, or one that is added and there already."""
    found = re.search(r"Could not (override|append to config)\D*?'([^']+)'", str(error))
    if found is None:
        return None
    name = found[2]
    word = next((word for word in settings if word.lstrip("+").startswith(name)), name)
    if found[1] == "override":
        return f"{word}: what is chosen for {name.partition('.')[0]} has no such setting"
    return f"{word}: is there already; say {word.lstrip('+')}"


def with_cause(error: BaseException) -> str:
    cause = error.__cause__
    return one_line(error) + (f": {one_line(cause)}" if cause is not None else "")


def one_line(error: BaseException) -> str:
    text = re.sub(r"See https?://\S+.*", "", str(error), flags=re.DOTALL)
    return " ".join(text.split()) or type(error).__name__


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
        if not TUNABLE.fullmatch(str(name)) or is_group or not is_known(str(name)):
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
