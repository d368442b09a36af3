"""Convert a search space from Hydra's grammar to Optuna, and a trial to a command line."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override, Transformer

from stemsplit.errors import InputError

if TYPE_CHECKING:
    import optuna


def values_of(override: Override) -> list[Any]:
    """The distinct values of a sweep; those that are no numbers stay command-line words."""
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
        raise InputError(f"{override.input_line}: the lower bound comes first")
    if "log" in interval.tags and start <= 0:
        raise InputError(f"{override.input_line}: a logarithmic range begins above 0")
    return interval


def words_of(settings: Mapping[str, Any]) -> list[str]:
    """The settings of a trial as words of the command line."""
    return [
        f"{name}={value if isinstance(value, str) else Transformer.str(value)}"
        for name, value in settings.items()
    ]


def propose(trial: "optuna.Trial", axes: Mapping[str, Any]) -> None:
    """Suggest values for a trial; values that it has already are kept."""
    for name, values in axes.items():
        if not isinstance(values, IntervalSweep):
            trial.suggest_categorical(name, values)
            continue
        start, end, log = values.start, values.end, "log" in values.tags
        if isinstance(start, int) and isinstance(end, int):
            trial.suggest_int(name, start, end, log=log)
        else:
            trial.suggest_float(name, float(start or 0), float(end or 0), log=log)
