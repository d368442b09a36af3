"""Hydra's ``-m`` as the trials of an Optuna study, which a sweep that was broken off goes on with.

Hydra loads this module whenever it starts, as a plugin; so what takes time to import is imported
where it is used.

The study lies in the sweep's folder, which has no date in its name, so that the same command finds
it again. A trial that is finished is never run again; one that was broken off goes on from its last
checkpoint, in its folder, under its number.
"""

import itertools
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    import optuna

ASKED_FOR = "asked for"  # the attribute of a study that says what it tries
INSTEAD = "instead of"  # … of a trial, which says of the failed one whose place it takes


class TrialSweeper(Sweeper):
    """``hydra/sweeper=trials``: `params` are tried, `jobs` at a time.

    `sampler` is ``grid``, which tries all combinations of listed values, or ``tpe``, which tries
    `trials` values that Optuna's tree-structured Parzen estimator proposes: J. Bergstra et al.,
    "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011. A value that the command line gives
    takes the place of the one in `params`.
    """

    def __init__(
        self, sampler: str, trials: int | None, jobs: int, seed: int, params: DictConfig | None
    ) -> None:
        self.sampler = sampler
        self.trials = trials
        self.jobs = jobs
        self.seed = seed
        self.params = {str(key): values for key, values in (params or {}).items()}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.folder = Path(config.hydra.sweep.dir).absolute()
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        from filelock import FileLock, Timeout

        from stemsplit.errors import InputError, one_line_errors

        with one_line_errors():
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                with FileLock(self.folder / ".sweep.lock", timeout=0):
                    self._sweep(arguments)
            except Timeout:
                raise InputError(f"{self.folder}: another process is at this sweep") from None

    def _sweep(self, arguments: list[str]) -> None:
        from optuna.samplers import TPESampler
        from optuna.trial import Trial

        from stemsplit.errors import InputError
        from stemsplit.reporting.sweep import report
        from stemsplit.training.trials import study_in

        axes, fixed = self._space(arguments)
        study = study_in(self.folder)
        # With the same numbers after every start it would propose again what it had proposed.
        study.sampler = TPESampler(seed=self.seed + len(study.trials))
        self._take_up(study, axes, fixed)
        if self.sampler == "grid":
            for values in itertools.product(*axes.values()):
                combination = dict(zip(axes, values, strict=True))
                study.enqueue_trial(combination, skip_if_exists=True)
            total = math.prod(len(values) for values in axes.values())
        else:
            total = self.trials or 0
        instead = {trial.user_attrs.get(INSTEAD) for trial in study.trials}
        for trial in trials_in(study, "FAIL"):
            if trial.number not in instead:  # by now the reason may be mended
                study.enqueue_trial(trial.params, {INSTEAD: trial.number})
        total += len([trial for trial in study.trials if INSTEAD in trial.user_attrs])
        broken_off = trials_in(study, "RUNNING")
        while True:
            batch = [Trial(study, trial._trial_id) for trial in broken_off[: self.jobs]]
            broken_off = broken_off[self.jobs :]
            begun = len(study.trials) - len(trials_in(study, "WAITING"))
            batch += [study.ask() for _ in range(min(self.jobs - len(batch), total - begun))]
            if not batch:
                break
            for begun_trial in batch:
                propose(begun_trial, axes)
            self._run(study, [begun_trial.number for begun_trial in batch], fixed)
        report(study, self.folder)
        instead = {trial.user_attrs.get(INSTEAD) for trial in study.trials}
        failed = [trial for trial in trials_in(study, "FAIL") if trial.number not in instead]
        if failed:
            raise InputError(
                f"{self.folder}: {len(failed)} trials failed ({failed[0].number}: "
                f"{failed[0].user_attrs.get('error')}); the same command tries them again"
            )

    def _space(self, arguments: list[str]) -> tuple[dict[str, Any], list[str]]:
        """What is tried, and what all trials have in common."""
        from stemsplit.errors import InputError

        axes: dict[str, Any] = {}
        fixed: list[str] = []
        parser = OverridesParser.create()
        given = parser.parse_overrides(arguments)
        names = {override.get_key_element() for override in given}
        standard = [f"{key}={values}" for key, values in self.params.items() if key not in names]
        for override in [*parser.parse_overrides(standard), *given]:
            if not override.is_sweep_override():
                fixed.append(override.input_line or "")
            elif override.is_discrete_sweep():
                axes[override.get_key_element()] = values_of(override)
            elif self.sampler == "grid":
                raise InputError(f"{override.input_line}: a grid needs values, not a range of them")
            else:
                axes[override.get_key_element()] = override.value()
        if not axes:
            raise InputError("nothing to try: give a setting several values, as lr=1e-3,1e-4")
        if self.sampler not in ("grid", "tpe"):
            raise InputError(f"there is no sampler {self.sampler}: choose grid or tpe")
        if self.sampler == "tpe" and not self.trials:
            raise InputError("hydra.sweeper.trials: says how many trials there are to be")
        if self.jobs < 1:
            raise InputError("hydra.sweeper.jobs: at least one trial runs at a time")
        return axes, fixed

    def _take_up(self, study: "optuna.Study", axes: dict[str, Any], fixed: list[str]) -> None:
        """Refuse a folder in which another sweep lies."""
        from stemsplit.errors import InputError

        asked_for = {
            "sampler": self.sampler,
            "tries": {name: str(values) for name, values in axes.items()},
            "with": sorted(word for word in fixed if not word.startswith("hydra")),
        }
        before = study.user_attrs.get(ASKED_FOR)
        if before is None:
            study.set_user_attr(ASKED_FOR, asked_for)
        elif before != asked_for:
            raise InputError(
                f"{self.folder}: holds another sweep, of {json.dumps(before)}, not "
                f"{json.dumps(asked_for)}; give this one a name of its own with sweep.name=…"
            )

    def _run(self, study: "optuna.Study", numbers: Sequence[int], fixed: Iterable[str]) -> None:
        jobs = []
        for number in numbers:
            tried = [f"{name}={value}" for name, value in study.trials[number].params.items()]
            jobs.append([*fixed, *tried, f"sweep.trial={number}"])
        assert self.launcher is not None
        done = self.launcher.launch(jobs, initial_job_idx=numbers[0])
        for number, job in zip(numbers, done, strict=True):
            self._tell(study, number, job)

    def _tell(self, study: "optuna.Study", number: int, job: JobReturn) -> None:
        from optuna.trial import Trial, TrialState

        from stemsplit.checkpoint import read
        from stemsplit.training.trials import PRUNED

        trial = study.trials[number]
        if job.status == JobStatus.FAILED:
            lines = str(job._return_value).splitlines() or [type(job._return_value).__name__]
            Trial(study, trial._trial_id).set_user_attr("error", lines[0])
            study.tell(number, state=TrialState.FAIL)
        elif trial.user_attrs.get(PRUNED):
            study.tell(number, state=TrialState.PRUNED)
        else:
            epoch = read(self.folder / str(number) / "best.ckpt")["epoch"]
            study.tell(number, trial.intermediate_values[epoch])


def values_of(override: Override) -> list[Any]:
    """The listed values of a sweep, as a study keeps them."""
    return [
        value if isinstance(value, int | float | str | bool) or value is None else str(value)
        for value in override.sweep_iterator()
    ]


def propose(trial: "optuna.Trial", axes: dict[str, Any]) -> None:
    """Values for a trial, by the sampler or as they were listed; it keeps those that it has."""
    for name, values in axes.items():
        if not isinstance(values, IntervalSweep):
            trial.suggest_categorical(name, values)
            continue
        start, end, log = values.start, values.end, "log" in values.tags
        if isinstance(start, int) and isinstance(end, int):
            trial.suggest_int(name, start, end, log=log)
        else:
            trial.suggest_float(name, float(start or 0), float(end or 0), log=log)


def trials_in(study: "optuna.Study", *states: str) -> "list[optuna.trial.FrozenTrial]":
    return [trial for trial in study.trials if trial.state.name in states]
