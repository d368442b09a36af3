"""Record the definition of a sweep in its study, and refuse another sweep in the same folder."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import optuna
from hydra.core.override_parser.types import IntervalSweep
from omegaconf import DictConfig, OmegaConf

from stemsplit.errors import InputError
from stemsplit.reporting.run_records import flattened
from stemsplit.settings.check import INSTANTIATION
from stemsplit.settings.moved import ADDED, MOVED
from stemsplit.sweeps.definition import Definition
from stemsplit.sweeps.trials import check

DEFINITION = "asked for"  # name of the study's attribute that stores the definition
MOST = 5  # largest number of differences that an error message lists
# Settings that may differ when a sweep is resumed, because they do not affect results of trials.
FREE = (
    "tuned",
    "logger",
    "checkpoint_minutes",
    "data.workers",
    "data.cache",
    "allow_changed_corpus",
)


def shared_settings(definition: Definition, configs: Iterable[DictConfig]) -> dict[str, str]:
    """The settings that all trials share, from the configurations of `Definition.examples`.

    Raises `InputError` for a trial that cannot be part of a sweep.
    """
    for config in configs:
        if config.evaluate_test:
            raise InputError("evaluate_test=true: a sweep must not score the test songs")
        if (trial := config.callbacks.get("trial")) is None:
            raise InputError(
                "callbacks.trial=null: a sweep needs this callback, which reports the metric"
            )
        check(trial.monitor, trial.pruner, config.targets)
    # The shared settings are read from the last configuration, because the configurations differ
    # only in swept settings and swept groups.
    settings = flattened(cast(dict[str, Any], OmegaConf.to_container(config)))
    excluded = ["hydra", *FREE, *(name.lstrip("+") for name in definition.axes)]
    return {
        name: value
        for name, value in settings.items()
        if not any(f"{name}.".startswith(f"{other}.") for other in excluded)
    }


def record(
    study: optuna.Study, definition: Definition, settings: Mapping[str, str], folder: Path
) -> None:
    """Store the definition in the study; raise `InputError` if the study already has another one.

    `folder` is named in the error message.
    """
    tried = {
        name: f"{values.start} to {values.end}"
        if isinstance(values, IntervalSweep)
        else ",".join(sorted(map(str, values)))
        for name, values in definition.axes.items()
    }
    present: dict[str, Any] = {
        "tries": {"sampler": definition.sampler, **tried},
        "settings": dict(settings),
        "words": [word for word in definition.words if not word.startswith("hydra")],
    }
    before = study.user_attrs.get(DEFINITION)
    if before is None:
        study.set_user_attr(DEFINITION, present)
        return
    if differences := differences_between(before, present):
        raise InputError(
            f"{folder}: holds another sweep ({'; '.join(differences[:MOST])}"
            f"{'; …' if len(differences) > MOST else ''}); choose another name with "
            "sweep.name=NAME, or remove the folder"
        )


def recorded_words(study: optuna.Study) -> list[str]:
    """The command-line overrides that all trials share."""
    return list(study.user_attrs[DEFINITION]["words"])


def differences_between(before: Mapping[str, Any], now: Mapping[str, Any]) -> Sequence[str]:
    old = {name: with_present_names(value) for name, value in all_settings(before).items()}
    new = all_settings(now)
    return [
        f"{name}: {old.get(name, 'not set')} before, {new.get(name, 'not set')} now"
        for name in {**old, **new}
        if old.get(name) != new.get(name) and not is_construction(name, old, new)
    ]


def is_construction(name: str, old: Mapping[str, str], new: Mapping[str, str]) -> bool:
    """Whether a setting tells Hydra how to make an object, and only one definition has it.

    Another version of stemsplit may have written the setting, so the sweeps do not differ in it.
    """
    return name.rpartition(".")[2] in INSTANTIATION and not (name in old and name in new)


def all_settings(definition: Mapping[str, Any]) -> dict[str, str]:
    added = {name: str(value) for name, value in ADDED.items()}
    return added | definition["settings"] | definition["tries"]


def with_present_names(value: str) -> str:
    """Replace old names of classes in a setting, or in a list of settings, with new names."""
    for before, now in MOVED.items():
        value = now if value == before else value.replace(f"'{before}'", f"'{now}'")
    return value
