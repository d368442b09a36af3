"""Hydra sweeper that runs jobs as Optuna trials and resumes an interrupted sweep.

Hydra loads this module as a plugin whenever it starts, so slow imports are made inside functions.

The study lies in the sweep's folder. The folder's name has no date, so the same command finds the
study again. A finished trial never runs again. An interrupted trial resumes from its last
checkpoint, in its folder and under its number.
"""

import itertools
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from stemsplit.errors import InputError, one_line_errors
from stemsplit.sweeps.search_space import interval_of, propose, values_of, words_of

if TYPE_CHECKING:
    import optuna

ASKED_FOR = "asked for"  # the attribute of a study that says what it tries
INSTEAD = "instead of"  # … of a trial, which says of the failed one whose place it takes
MOST = 5  # differences between two sweeps that an error names
# What a command that goes on with a sweep may say otherwise: it changes no trial's figure.
FREE = (
    *("tuned", "logger", "checkpoint_minutes", "data.workers", "data.cache"),
    "allow_changed_corpus",
)


class TrialSweeper(Sweeper):
    """``hydra/sweeper=trials``, which ``+sweep=…`` chooses: `params` are tried, `jobs` at a time.

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
        with one_line_errors():
            if "sweep" not in config:
                raise InputError("hydra/sweeper=trials: say +sweep=lr_decay, or a file like it")
        self.base = config
        self.loader = hydra_context.config_loader
        self.folder = Path(config.hydra.sweep.dir).absolute()
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        from filelock import FileLock, Timeout

        with one_line_errors():
            axes, fixed = self._space(arguments)
            settings = self._settings(axes, fixed)
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                with FileLock(self.folder / ".sweep.lock", timeout=0):
                    self._sweep(axes, fixed, settings)
            except Timeout:
                raise InputError(f"{self.folder}: another process is at this sweep") from None

    def _sweep(
        self, axes: Mapping[str, Any], fixed: Sequence[str], settings: Mapping[str, str]
    ) -> None:
        from optuna.samplers import TPESampler

        from stemsplit.sweeps.report import report
        from stemsplit.sweeps.trials import ERROR, begin

        study = begin(self.folder)
        # With the same numbers after every start it would propose again what it had proposed;
        # trials that run at a time are to differ.
        study.sampler = TPESampler(seed=self.seed + len(study.trials), constant_liar=self.jobs > 1)
        self._take_up(study, axes, fixed, settings)
        total = self._plan(study, axes)
        broken_off = [trial.number for trial in trials_in(study, "RUNNING")]
        while numbers := self._next(study, axes, broken_off, total):
            self._run(study, numbers, fixed)
        write_best(study, self.folder / "best.yaml", list(self.params))
        report(study, self.folder)
        if failed := not_mended(study):
            raise InputError(
                f"{self.folder}: {len(failed)} trials failed ({failed[0].number}: "
                f"{failed[0].user_attrs.get(ERROR)}); the same command tries them again"
            )
        if running := trials_in(study, "RUNNING"):
            raise InputError(
                f"{self.folder}: {len(running)} trials were broken off (see above); the same "
                "command goes on with them"
            )

    def _plan(self, study: "optuna.Study", axes: Mapping[str, Any]) -> int:
        """Enqueue the trials whose settings are known; return the number of trials."""
        if self.sampler == "grid":
            for values in itertools.product(*axes.values()):
                combination = dict(zip(axes, values, strict=True))
                study.enqueue_trial(combination, skip_if_exists=True)
            total = math.prod(len(values) for values in axes.values())
        else:
            total = self.trials or 0
        for trial in not_mended(study):  # by now the reason may be
            study.enqueue_trial(trial.params, {INSTEAD: trial.number})
        return total + sum(INSTEAD in trial.user_attrs for trial in study.trials)

    def _next(
        self, study: "optuna.Study", axes: Mapping[str, Any], broken_off: list[int], total: int
    ) -> list[int]:
        """The trials that run next, at most `jobs`; interrupted trials come first."""
        from optuna.trial import Trial

        numbers, broken_off[: self.jobs] = broken_off[: self.jobs], []
        for number in numbers:  # it may have been before it had its settings
            propose(Trial(study, study.trials[number]._trial_id), axes)
        begun = len(study.trials) - len(trials_in(study, "WAITING"))
        for _ in range(min(self.jobs - len(numbers), total - begun)):
            trial = study.ask()
            propose(trial, axes)
            numbers.append(trial.number)
        return numbers

    def _space(self, arguments: list[str]) -> tuple[dict[str, Any], list[str]]:
        """The swept settings, and the settings that all trials share."""
        axes: dict[str, Any] = {}
        fixed: list[str] = []
        parser = OverridesParser.create(self.loader)
        given = parser.parse_overrides(arguments)
        names = {override.key_or_group for override in given}
        standard = [f"{key}={values}" for key, values in self.params.items() if key not in names]
        for override in [*parser.parse_overrides(standard), *given]:
            if not override.is_sweep_override():
                fixed.append(override.input_line or "")
            elif override.is_discrete_sweep():
                axes[override.get_key_element()] = values_of(override)
            elif self.sampler == "grid":
                raise InputError(f"{override.input_line}: a grid needs values, not a range of them")
            else:
                axes[override.get_key_element()] = interval_of(override)
        if not axes:
            raise InputError(
                "nothing to try: give a setting several values, as optimizer.lr=1e-3,1e-4"
            )
        if any(name.lstrip("+").startswith("data.downsample") for name in axes):
            raise InputError(
                "data.downsample: is what makes a sweep cheap, and what it finds is for the full "
                "set; compare sizes with hydra/sweeper=basic"
            )
        if "model" in axes and "sweep.name" not in names:
            raise InputError("several models make one sweep: name it with sweep.name=…")
        if self.sampler not in ("grid", "tpe"):
            raise InputError(f"there is no sampler {self.sampler}: choose grid or tpe")
        if self.sampler == "tpe" and (self.trials or 0) < 1:
            raise InputError("hydra.sweeper.trials: says how many trials there are to be")
        if self.sampler == "grid" and self.trials is not None:
            raise InputError("hydra.sweeper.trials: a grid has as many as it has combinations")
        if self.jobs < 1:
            raise InputError("hydra.sweeper.jobs: at least one trial runs at a time")
        return axes, fixed

    def _settings(self, axes: Mapping[str, Any], fixed: Sequence[str]) -> dict[str, str]:
        """The composed settings that all trials share.

        What is misspelt or cannot be is found here, before there is a study: every value once.
        """
        from stemsplit.reporting.run_records import flattened
        from stemsplit.sweeps.trials import check

        first = {
            name: values.start if isinstance(values, IntervalSweep) else values[0]
            for name, values in axes.items()
        }
        for name, values in axes.items():
            for value in [first[name]] if isinstance(values, IntervalSweep) else values:
                words = self._words(0, {**first, name: value}, fixed)
                config = self.loader.load_sweep_config(self.base, words)
                if config.evaluate_test:
                    raise InputError("evaluate_test=true: a sweep leaves the test songs alone")
                if (trial := config.callbacks.get("trial")) is None:
                    raise InputError("callbacks.trial=null: a sweep needs its trials' figures")
                check(trial.monitor, trial.pruner, config.targets)
        settings = flattened(cast(dict[str, Any], OmegaConf.to_container(config)))
        apart = ["hydra", *FREE, *(name.lstrip("+") for name in axes)]
        return {
            name: value
            for name, value in settings.items()
            if not any(f"{name}.".startswith(f"{other}.") for other in apart)
        }

    def _words(self, number: int, settings: Mapping[str, Any], fixed: Sequence[str]) -> list[str]:
        """The command line of a job; it names the folder, which may depend on swept settings."""
        from stemsplit.settings.paths import quote

        folder, name = quote(str(self.folder)), quote(str(self.base.sweep.name))
        of_sweep = [f"hydra.sweep.dir={folder}", f"sweep.name={name}", f"sweep.trial={number}"]
        return [*fixed, *words_of(settings), *of_sweep]

    def _take_up(
        self,
        study: "optuna.Study",
        axes: Mapping[str, Any],
        fixed: Sequence[str],
        settings: Mapping[str, str],
    ) -> None:
        """Raise `InputError` if the folder holds another sweep."""
        tried = {
            name: f"{values.start} to {values.end}"
            if isinstance(values, IntervalSweep)
            else ",".join(sorted(map(str, values)))
            for name, values in axes.items()
        }
        asked_for: dict[str, Any] = {
            "tries": {"sampler": self.sampler, **tried},
            "settings": dict(settings),
            "words": [word for word in fixed if not word.startswith("hydra")],
        }
        before = study.user_attrs.get(ASKED_FOR)
        if before is None:
            study.set_user_attr(ASKED_FOR, asked_for)
            return
        then, now = (one["settings"] | one["tries"] for one in (before, asked_for))
        differing = [
            f"{name} {then.get(name, 'not')} and now {now.get(name, 'not')}"
            for name in {**then, **now}
            if then.get(name) != now.get(name)
        ]
        if differing:
            raise InputError(
                f"{self.folder}: holds another sweep ({'; '.join(differing[:MOST])}"
                f"{'; …' if len(differing) > MOST else ''}); give this one a name of its own with "
                "sweep.name=…, or remove the folder"
            )

    def _run(self, study: "optuna.Study", numbers: Sequence[int], fixed: Sequence[str]) -> None:
        """Run trials and record their results; if the launcher fails, later trials still run.

        (A job's own error comes back with it. What raises is a worker that was killed, a queue.)
        """
        jobs = [self._words(number, study.trials[number].params, fixed) for number in numbers]
        assert self.launcher is not None
        try:
            done = self.launcher.launch(jobs, initial_job_idx=numbers[0])
        except Exception as error:
            trials = ", ".join(map(str, numbers))
            print(f"trials {trials} were broken off: {one_line(error)}", file=sys.stderr)
            return
        for number, job in zip(numbers, done, strict=True):
            self._tell(study, number, job)

    def _tell(self, study: "optuna.Study", number: int, job: JobReturn) -> None:
        """Record the result of a trial: the figure of its best checkpoint."""
        from optuna.trial import Trial, TrialState

        from stemsplit.sweeps.trials import ERROR, PRUNED, figure_of

        trial = study.trials[number]
        if PRUNED in trial.user_attrs:
            study.tell(number, state=TrialState.PRUNED)
            return
        try:
            if job.status == JobStatus.FAILED:
                raise job._return_value
            figure = figure_of(self.folder / str(number) / "best.ckpt")
        except Exception as error:
            Trial(study, trial._trial_id).set_user_attr(ERROR, one_line(error))
            study.tell(number, state=TrialState.FAIL)
        else:
            study.tell(number, figure)


def one_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def write_best(study: "optuna.Study", path: Path, space: Sequence[str]) -> None:
    """Write the settings of the best finished trial, if any, as YAML for ``tuned=``.

    Those of the sweep's own `space` that the command line fixed are among them. The first line is
    the command that trains with them on the full set.
    """
    import yaml

    from stemsplit.files import replacing
    from stemsplit.settings.paths import without_quotes
    from stemsplit.sweeps.report import best_of

    best = best_of(study.trials)
    if best is None:
        return
    words = study.user_attrs[ASKED_FOR]["words"]
    fixed = [word for word in words if word.partition("=")[0].lstrip("+") in space]
    parsed = OverridesParser.create().parse_overrides([*fixed, *words_of(best.params)])
    settings = {override.get_key_element(): override.value() for override in parsed}
    sweeps = ("sweep=", "sweep.", "callbacks.trial", "data.downsample", "tuned=")
    shared = [
        without_quotes(word)
        for word in words
        if word not in fixed and not word.lstrip("+").startswith(sweeps)
    ]
    command = shlex.join(["python", "-m", "stemsplit.train", *shared, f"tuned={path}"])
    with replacing(path) as partial:
        partial.write_text(
            f"# Trial {best.number}, {best.value:.2f} dB: {command}\n"
            + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=math.inf)
        )


def trials_in(study: "optuna.Study", *states: str) -> "list[optuna.trial.FrozenTrial]":
    return [trial for trial in study.trials if trial.state.name in states]


def not_mended(study: "optuna.Study") -> "list[optuna.trial.FrozenTrial]":
    """The failed trials that have not been repeated."""
    mended = {trial.user_attrs.get(INSTEAD) for trial in study.trials}
    return [trial for trial in trials_in(study, "FAIL") if trial.number not in mended]
