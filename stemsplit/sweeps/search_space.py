"""Convert a search space from Hydra's grammar to Optuna, and a trial's settings to overrides."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override, Transformer

from stemsplit.errors import InputError
from stemsplit.settings.help import CONF

if TYPE_CHECKING:
    import optuna

Axes = Mapping[str, list[Any] | IntervalSweep]  # values or bounds of each setting


def is_group(name: str) -> bool:
    """Whether `name` is a config group of Hydra, such as ``model``, and not a single setting."""
    return name == "experiments" or Path(CONF, name).is_dir()


def values_of(override: Override) -> list[Any]:
    """The distinct values of a swept setting. Numbers, booleans and null keep their type.

    All other values become text.
    """
    values = [
        value if isinstance(value, bool | int | float | None) else Transformer.str(value)
        for value in override.sweep_iterator()
    ]
    return list(dict.fromkeys(values))


def interval_of(override: Override) -> IntervalSweep:
    interval = override.value()
    assert isinstance(interval, IntervalSweep)
    start, end = float(interval.start or 0), float(interval.end or 0)
    if not start < end:
        raise InputError(f"{override.input_line}: the lower bound must come first")
    if "log" in interval.tags and start <= 0:
        raise InputError(
            f"{override.input_line}: the bounds of a logarithmic range must be above 0"
        )
    return interval


def words_of(settings: Mapping[str, Any]) -> list[str]:
    """The settings of a trial as overrides of the command line, such as ``optimizer.lr=0.01``."""
    return [
        f"{name}={value if isinstance(value, str) else Transformer.str(value)}"
        for name, value in settings.items()
    ]


def propose(trial: "optuna.Trial", axes: Axes) -> None:
    """Let Optuna set the values of a trial. An enqueued trial gets its values from the queue."""
    for name, values in axes.items():
        if not isinstance(values, IntervalSweep):
            trial.suggest_categorical(name, in_first_order(trial.study, name, values))
            continue
        start, end, log = values.start, values.end, "log" in values.tags
        if isinstance(start, int) and isinstance(end, int):
            trial.suggest_int(name, start, end, log=log)
        else:
            trial.suggest_float(name, float(start or 0), float(end or 0), log=log)


def in_first_order(study: "optuna.Study", name: str, values: list[Any]) -> list[Any]:
    """Return the values in the order of the first trial. Optuna refuses another order."""
    for trial in study.get_trials(deepcopy=False):
        known = getattr(trial.distributions.get(name), "choices", None)
        if known is not None:
            return sorted(values, key=known.index)
    return values


def covering_jobs(overrides: Sequence[Override]) -> list[list[str]]:
    """The shortest list of jobs in which every value of a sweep and both ends of ranges occur.

    A job is a list of overrides.
    """
    words: list[list[str]] = []
    for override in overrides:
        line = override.input_line or ""
        if not override.is_sweep_override():
            words.append([line])
            continue
        if override.is_discrete_sweep():
            values = list(override.sweep_string_iterator())
            if not values:
                raise InputError(f"{line}: has no values")
        else:
            interval: Any = override.value()
            values = [str(interval.start), str(interval.end)]
        words.append([f"{line.partition('=')[0]}={value}" for value in values])
    most = max(map(len, words), default=1)
    return [[values[min(job, len(values) - 1)] for values in words] for job in range(most)]
