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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, Transformer
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from stemsplit.errors import InputError, one_line_errors

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
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                with FileLock(self.folder / ".sweep.lock", timeout=0):
                    self._sweep(arguments)
            except Timeout:
                raise InputError(f"{self.folder}: another process is at this sweep") from None

    def _sweep(self, arguments: list[str]) -> None:
        from optuna.samplers import TPESampler
        from optuna.trial import Trial

        from stemsplit.reporting.sweep import report
        from stemsplit.training.trials import ERROR, study_in

        axes, fixed = self._space(arguments)
        self._compose(axes, fixed)
        study = study_in(self.folder)
        # With the same numbers after every start it would propose again what it had proposed;
        # trials that run at a time are to differ.
        study.sampler = TPESampler(seed=self.seed + len(study.trials), constant_liar=self.jobs > 1)
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
        write_best(study, self.folder / "best.yaml")
        report(study, self.folder)
        instead = {trial.user_attrs.get(INSTEAD) for trial in study.trials}
        failed = [trial for trial in trials_in(study, "FAIL") if trial.number not in instead]
        if failed:
            raise InputError(
                f"{self.folder}: {len(failed)} trials failed ({failed[0].number}: "
                f"{failed[0].user_attrs.get(ERROR)}); the same command tries them again"
            )

    def _space(self, arguments: list[str]) -> tuple[dict[str, Any], list[str]]:
        """What is tried, and what all trials have in common."""
        axes: dict[str, Any] = {}
        fixed: list[str] = []
        parser = OverridesParser.create(self.loader)
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
                axes[override.get_key_element()] = interval_of(override)
        if not axes:
            raise InputError(
                "nothing to try: give a setting several values, as optimizer.lr=1e-3,1e-4"
            )
        if "model" in axes and "sweep.name" not in names:
            raise InputError("several models make one sweep: name it with sweep.name=…")
        if self.sampler not in ("grid", "tpe"):
            raise InputError(f"there is no sampler {self.sampler}: choose grid or tpe")
        if self.sampler == "tpe" and not self.trials:
            raise InputError("hydra.sweeper.trials: says how many trials there are to be")
        if self.jobs < 1:
            raise InputError("hydra.sweeper.jobs: at least one trial runs at a time")
        return axes, fixed

    def _compose(self, axes: Mapping[str, Any], fixed: Sequence[str]) -> None:
        """Let Hydra say what is misspelt before there is a study: every value once."""
        first = {
            name: values.start if isinstance(values, IntervalSweep) else values[0]
            for name, values in axes.items()
        }
        for name, values in axes.items():
            for value in [first[name]] if isinstance(values, IntervalSweep) else values:
                words = self._words(0, {**first, name: value}, fixed)
                self.loader.load_sweep_config(self.base, words)

    def _words(self, number: int, settings: Mapping[str, Any], fixed: Sequence[str]) -> list[str]:
        """A job's command line. The folder's name may hang on what is tried: it is written out."""
        folder = Transformer.str(str(self.folder))
        name = Transformer.str(self.base.sweep.name)
        of_sweep = [f"hydra.sweep.dir={folder}", f"sweep.name={name}", f"sweep.trial={number}"]
        return [*fixed, *words_of(settings), *of_sweep]

    def _take_up(self, study: "optuna.Study", axes: dict[str, Any], fixed: list[str]) -> None:
        """Refuse a folder in which another sweep lies."""
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
                f"{json.dumps(asked_for)}; give this one a name of its own with sweep.name=…, or "
                "remove the folder"
            )

    def _run(self, study: "optuna.Study", numbers: Sequence[int], fixed: Sequence[str]) -> None:
        jobs = [self._words(number, study.trials[number].params, fixed) for number in numbers]
        assert self.launcher is not None
        try:
            done = self.launcher.launch(jobs, initial_job_idx=numbers[0])
        except Exception as error:  # of any launcher: a job's own come back in `done`
            raise InputError(
                f"{self.folder}: {type(self.launcher).__name__} broke off in trials "
                f"{', '.join(map(str, numbers))} ({str(error).splitlines()[0]}); the same command "
                "goes on with them"
            ) from error
        for number, job in zip(numbers, done, strict=True):
            self._tell(study, number, job)

    def _tell(self, study: "optuna.Study", number: int, job: JobReturn) -> None:
        """What became of a trial; its figure is that of the epoch of its best checkpoint."""
        from optuna.trial import Trial, TrialState

        from stemsplit.checkpoint import read
        from stemsplit.training.trials import ERROR, PRUNED

        trial = study.trials[number]
        if trial.user_attrs.get(PRUNED):
            study.tell(number, state=TrialState.PRUNED)
            return
        try:
            if job.status == JobStatus.FAILED:
                raise job._return_value
            best = self.folder / str(number) / "best.ckpt"
            figure = trial.intermediate_values.get(read(best)["epoch"], math.nan)
            if not math.isfinite(figure):
                raise InputError(f"{best}: its epoch has no figure")
        except Exception as error:
            lines = str(error).splitlines() or [type(error).__name__]
            Trial(study, trial._trial_id).set_user_attr(ERROR, lines[0])
            study.tell(number, state=TrialState.FAIL)
        else:
            study.tell(number, figure)


def values_of(override: Override) -> list[Any]:
    """The listed values of a sweep, each once; what is no number, as a word of the command line."""
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
    """A trial's settings as `values_of` keeps them, as words of the command line."""
    return [
        f"{name}={value if isinstance(value, str) else Transformer.str(value)}"
        for name, value in settings.items()
    ]


def write_best(study: "optuna.Study", path: Path) -> None:
    """The settings of the best trial as YAML, which ``tuned=`` takes; nothing where none ended."""
    import yaml

    from stemsplit.files import replacing
    from stemsplit.reporting.sweep import best_of

    best = best_of(study.trials)
    if best is None:
        return
    given = OverridesParser.create().parse_overrides(words_of(best.params))
    settings = {override.get_key_element(): override.value() for override in given}
    with replacing(path) as partial:
        partial.write_text(
            f"# Trial {best.number}, {best.value:.2f} dB: python -m stemsplit.train tuned=THIS\n"
            + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
        )


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
