"""Compose a configuration as Hydra does, and report its errors in one line."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from stemsplit.command_line.overrides import check_choices, unknown
from stemsplit.errors import InputError, settings_at_fault
from stemsplit.settings.help import CONF


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
            f"{group}={choice}: unknown choice; choose one of {', '.join(error.options)}"
        ) from None
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(
            unknown(command, settings) or misplaced(error, settings) or with_cause(error)
        ) from None


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
