"""The definition of a sweep: the varied settings, and the overrides that all trials share."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override

from stemsplit.errors import InputError
from stemsplit.sweeps.search_space import Axes, interval_of, values_of

SAMPLERS = ("grid", "tpe")


@dataclass(frozen=True)
class Definition:
    """A sweep as the command line and ``conf/sweep`` define it.

    `space` names the settings that ``conf/sweep`` varies. A setting that the command line fixes to
    one value is in `words` and not in `axes`.
    """

    sampler: str
    axes: Axes
    words: Sequence[str]
    space: Sequence[str]
    trials: int  # number of combinations of a grid, or of trials that the sampler proposes
    jobs: int  # trials that run at the same time
    seed: int

    def combinations(self) -> Iterator[dict[str, Any]]:
        """The settings of all trials of a grid."""
        values = [values for values in self.axes.values() if isinstance(values, list)]
        for combination in itertools.product(*values):
            yield dict(zip(self.axes, combination, strict=True))

    def examples(self) -> list[dict[str, Any]]:
        """Settings of example trials, in which each listed value occurs at least once.

        In each example, one setting has one of its values. All other settings have their first
        value.
        """
        first = {name: first_of(values) for name, values in self.axes.items()}
        return [
            {**first, name: value}
            for name, values in self.axes.items()
            for value in ([first[name]] if isinstance(values, IntervalSweep) else values)
        ]


def define(
    arguments: Sequence[str],
    params: Mapping[str, str],
    parser: OverridesParser,
    *,
    sampler: str,
    trials: int | None,
    jobs: int,
    seed: int,
) -> Definition:
    """Read the definition of a sweep from `params` and a command line.

    `params` are the settings that ``conf/sweep`` varies. The command line replaces their values.

    Raises `InputError` if the settings do not define a sweep.
    """
    typed = parser.parse_overrides(list(arguments))
    names = {override.key_or_group for override in typed}
    default = [f"{name}={values}" for name, values in params.items() if name not in names]
    overrides = [*parser.parse_overrides(default), *typed]
    axes = {
        override.get_key_element(): axis_of(override, sampler)
        for override in overrides
        if override.is_sweep_override()
    }
    check_axes(axes, is_named="sweep.name" in names)
    return Definition(
        sampler=sampler,
        axes=axes,
        words=[
            override.input_line or "" for override in overrides if not override.is_sweep_override()
        ],
        space=list(params),
        trials=number_of_trials(axes, sampler, trials),
        jobs=checked_jobs(jobs),
        seed=seed,
    )


def axis_of(override: Override, sampler: str) -> list[Any] | IntervalSweep:
    if override.is_discrete_sweep():
        return values_of(override)
    if sampler == "grid":
        raise InputError(f"{override.input_line}: a grid needs a list of values, not a range")
    return interval_of(override)


def first_of(values: list[Any] | IntervalSweep) -> Any:
    return values.start if isinstance(values, IntervalSweep) else values[0]


def check_axes(axes: Axes, is_named: bool) -> None:
    if not axes:
        raise InputError(
            "a sweep needs a setting with several values, for example optimizer.lr=1e-3,1e-4"
        )
    if any(name.lstrip("+").startswith("data.downsample") for name in axes):
        raise InputError(
            "data.downsample: a sweep trains all trials on the same share of the data; compare "
            "shares with hydra/sweeper=basic"
        )
    if "model" in axes and not is_named:
        raise InputError("model: a sweep over several models needs a name; add sweep.name=NAME")


def number_of_trials(axes: Axes, sampler: str, trials: int | None) -> int:
    if sampler not in SAMPLERS:
        raise InputError(f"unknown sampler {sampler!r}; choose {' or '.join(SAMPLERS)}")
    if sampler == "tpe":
        if trials is None or trials < 1:
            raise InputError("hydra.sweeper.trials: choose the number of trials, at least 1")
        return trials
    if trials is not None:
        raise InputError("hydra.sweeper.trials: leave it out; a grid tries all combinations")
    return math.prod(len(values) for values in axes.values() if isinstance(values, list))


def checked_jobs(jobs: int) -> int:
    if jobs < 1:
        raise InputError("hydra.sweeper.jobs: choose the number of parallel trials, at least 1")
    return jobs
