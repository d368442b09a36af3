"""Compose a configuration with Hydra, and report its errors in one line."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from stemsplit.command_line.overrides import check_choices, parsed, unknown
from stemsplit.configuration import has_setting
from stemsplit.errors import InputError, settings_at_fault
from stemsplit.settings.help import CONF
from stemsplit.sweeps.search_space import is_group


@contextmanager
def composed(command: str, settings: Sequence[str]) -> Iterator[DictConfig]:
    """Yield the configuration that Hydra would pass to a command.

    Inside the block, references to Hydra's own settings (``${hydra:…}``) work.
    """
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
    """Compose a configuration. Raises `InputError` with one line, if possible with a suggestion."""
    check_choices(settings)
    try:
        return hydra_composition(command, settings)
    except MissingConfigException as error:
        group, _, choice = (error.missing_cfg_file or "").rpartition("/")
        if not group or error.options is None:
            raise InputError(one_line(error)) from None
        advice = ", or install others: pip install --editable '.[cluster]'"
        raise InputError(
            f"{group}={choice}: unknown choice; choose one of {', '.join(error.options)}"
            f"{advice if group == 'hydra/launcher' else ''}"
        ) from None
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(
            unknown(command, settings) or misplaced(command, settings) or with_cause(error)
        ) from None


def hydra_composition(command: str, settings: Sequence[str]) -> DictConfig:
    with initialize_config_dir(config_dir=CONF, job_name=command):
        return compose(command, overrides=list(settings), return_hydra_config=True)


def misplaced(command: str, settings: Sequence[str]) -> str | None:
    """The error message for the first setting that cannot be applied; None if all can.

    The message describes one of two errors: none of the chosen options (such as ``model=lstm``) has
    the setting, or the setting is written with ``+`` but exists already. Hydra raises the same type
    of exception for both errors. To tell them apart, this function first composes only the chosen
    options. Then it applies the settings one by one.
    """
    overrides = parsed(settings)
    choices = [override for override in overrides if is_group(override.key_or_group)]
    try:
        config = hydra_composition(command, [override.input_line or "" for override in choices])
        for override in overrides:
            name, line = override.key_or_group, override.input_line or ""
            if override in choices or override.is_delete():
                continue
            if override.is_add() and OmegaConf.select(config, name) is not None:
                return f"{line}: the setting already exists; write {line.lstrip('+')}"
            if not (override.is_add() or override.is_force_add() or has_setting(config, name)):
                return f"{line}: the chosen {name.partition('.')[0]} has no such setting"
            OmegaConf.update(config, name, override.value(), force_add=True)
    except (HydraException, OmegaConfBaseException):
        pass  # Hydra's own message describes all other errors
    return None


def with_cause(error: BaseException) -> str:
    cause = error.__cause__
    return one_line(error) + (f": {one_line(cause)}" if cause is not None else "")


def one_line(error: BaseException) -> str:
    text = re.sub(r"See https?://\S+.*", "", str(error), flags=re.DOTALL)
    return " ".join(text.split()) or type(error).__name__
