"""Prepare a command line for Hydra: quote paths, compose and check the settings.

Hydra creates the folder of a run before it calls the command, and explains an unknown setting in
many lines. So the configuration is composed and checked here first, before anything is written.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from stemsplit.command_line.composition import composed
from stemsplit.command_line.overrides import parsed
from stemsplit.command_line.resumption import resumed
from stemsplit.command_line.tuned import tuned
from stemsplit.errors import InputError
from stemsplit.files import check_writable
from stemsplit.separation.sources import resolved as resolved_source
from stemsplit.settings.check import check
from stemsplit.settings.paths import quote, quote_paths
from stemsplit.settings.suggestions import near
from stemsplit.sweeps.search_space import covering_jobs

SWEEP = {"-m", "--multirun"}
RUN = {"-r", "--run"}
OPTIONS = {
    *SWEEP,
    *RUN,
    "-h",
    "--help",
    "--hydra-help",
    "--version",
    "-i",
    "--info",
    "-c",
    "--cfg",
    "--resolve",
    "-p",
    "--package",
    "-sc",
    "--shell-completion",
    "-cp",
    "--config-path",
    "-cn",
    "--config-name",
    "-cd",
    "--config-dir",
    "--experimental-rerun",
}
# Words that repeat a default of conf/COMMAND.yaml. They are dropped from the command line, because
# Hydra refuses null for a group.
LEFT_OUT = {"train": ("experiments=null",), "evaluate": ("data=null",), "doctor": ()}


def resumes(settings: Sequence[str]) -> bool:
    return any(word.startswith("resume=") and word != "resume=null" for word in settings)


class Prepared(NamedTuple):
    """A command line for Hydra, and the folder that Hydra will create for a training run.

    `folder` is None for other commands, for sweeps and for Hydra's own options. `is_new` tells
    whether the run is a new one.
    """

    arguments: list[str]
    folder: Path | None = None
    is_new: bool = False


def prepared(command: str, arguments: Sequence[str]) -> Prepared:
    """The arguments as Hydra accepts them. Raises `InputError` for an invalid setting.

    Every value of a sweep (``-m``) is checked. Hydra's other options, such as ``--cfg``, turn the
    checks of settings off.
    """
    flags = {word for word in arguments if word.startswith("-")}
    for flag in sorted(flags):
        if (name := flag.partition("=")[0]) not in OPTIONS:
            raise InputError(f"{flag}: unknown option{near(name, OPTIONS)}")
    sweeping = bool(flags & SWEEP)
    words = [word for word in quote_paths(arguments, sweeping) if word not in LEFT_OUT[command]]
    words = ["~scheduler" if word == "scheduler=null" else word for word in words]
    if command == "train":
        words = tuned(words)
    if flags - SWEEP - RUN:
        return Prepared(words)
    settings = [word for word in words if word not in flags]
    if sweeping:
        if resumes(settings):
            raise InputError(
                "resume= continues a single run; repeat a sweep's command to resume it"
            )
        for job in covering_jobs(parsed(settings)):
            with composed(command, job) as config:
                check(config, command)
                if command == "train" and config.weights is not None:
                    resolved_source(config.weights)  # raises an error if there are no such weights
        return Prepared(words)
    with composed(command, settings) as config:
        check(config, command)
        folder = Path(config.hydra.runtime.output_dir)
        if command != "train":
            return Prepared(words)
        if config.resume is not None:
            resumed(config.resume, settings, config.data.cache)
        cache = Path(os.path.expanduser(config.data.cache))
        if not cache.is_dir():  # a read-only cache may already hold all songs
            check_writable(cache, "data.cache")
    words = [word for word in words if not word.startswith("hydra.run.dir=")]
    return Prepared([*words, f"hydra.run.dir={quote(str(folder))}"], folder, config.resume is None)
