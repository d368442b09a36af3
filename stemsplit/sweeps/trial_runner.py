"""Run the trials of a sweep through a Hydra launcher, and record their results in the study."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from optuna.trial import FrozenTrial, TrialState

from stemsplit.errors import InputError
from stemsplit.sweeps.best import write_best
from stemsplit.sweeps.definition import Definition
from stemsplit.sweeps.record import record
from stemsplit.sweeps.report import report
from stemsplit.sweeps.search_space import propose
from stemsplit.sweeps.study import (
    ERROR,
    PRUNED,
    REPEATS,
    SETTINGS,
    create_study,
    failed_trials,
    open_trial,
    trials_in,
)
from stemsplit.sweeps.trials import figure_of
from stemsplit.terminal.counts import counted

Words = Callable[[int, Mapping[str, Any]], list[str]]  # trial number, settings → command line


class Jobs(NamedTuple):
    """The function that returns the command line of a trial, and the launcher that runs jobs."""

    words: Words
    launcher: Launcher


def run_sweep(
    definition: Definition, settings: Mapping[str, str], folder: Path, jobs: Jobs
) -> None:
    """Start or resume a sweep, then write best.yaml and the report.

    Raises `InputError` if trials failed or were interrupted; the same command resumes the sweep.
    """
    study = create_study(folder)
    # A resumed sweep gets another seed, since the same seed would propose the same values again.
    # With `constant_liar`, trials that run at the same time get different values.
    study.sampler = optuna.samplers.TPESampler(
        seed=definition.seed + len(study.trials), constant_liar=definition.jobs > 1
    )
    record(study, definition, settings, folder)
    total = enqueue(study, definition)
    interrupted = [trial.number for trial in trials_in(study, TrialState.RUNNING)]
    while numbers := next_trials(study, definition, interrupted, total, folder):
        run_trials(study, numbers, folder, jobs)
    write_best(study, folder / "best.yaml", definition.space)
    report(study, folder)
    raise_unfinished(study, folder)


def raise_unfinished(study: optuna.Study, folder: Path) -> None:
    if failed := failed_trials(study):
        raise InputError(
            f"{folder}: {counted(len(failed), 'trial')} failed (trial {failed[0].number}: "
            f"{failed[0].user_attrs.get(ERROR)}); the same command tries again"
        )
    if running := trials_in(study, TrialState.RUNNING):
        raise InputError(
            f"{folder}: {counted(len(running), 'trial')} could not finish (see above); run the "
            "same command again to continue"
        )


def enqueue(study: optuna.Study, definition: Definition) -> int:
    """Enqueue the trials whose settings are known; return the total number of trials.

    The settings are known for the combinations of a grid, and for failed trials. A failed trial is
    repeated, because the cause of its failure may be gone. The total includes the repeated trials.
    """
    if definition.sampler == "grid":
        for combination in definition.combinations():
            study.enqueue_trial(combination, {SETTINGS: combination}, skip_if_exists=True)
    for trial in failed_trials(study):
        study.enqueue_trial(trial.params, {REPEATS: trial.number, SETTINGS: trial.params})
    return definition.trials + sum(REPEATS in trial.user_attrs for trial in study.trials)


def next_trials(
    study: optuna.Study,
    definition: Definition,
    interrupted: list[int],
    total: int,
    folder: Path,
) -> list[int]:
    """The numbers of the trials that run next, at most `definition.jobs`.

    Interrupted trials come first, and are removed from `interrupted`.
    """
    numbers = interrupted[: definition.jobs]
    del interrupted[: definition.jobs]
    for number in numbers:  # the sweep may have been killed before the trial got its settings
        propose(open_trial(study, folder, number), definition.axes)
    begun = len(study.trials) - len(trials_in(study, TrialState.WAITING))
    for _ in range(min(definition.jobs - len(numbers), total - begun)):
        trial = study.ask()
        propose(trial, definition.axes)
        numbers.append(trial.number)
    return numbers


def run_trials(study: optuna.Study, numbers: Sequence[int], folder: Path, jobs: Jobs) -> None:
    """Run trials and record their results.

    If a job fails, the launcher returns the error of the job. The launcher itself raises an error
    if a worker process is killed or the queue of a cluster is lost. Then these trials count as
    interrupted, and the next trials still run.
    """
    trials = study.trials
    words = [jobs.words(number, trials[number].params) for number in numbers]
    try:
        returned = jobs.launcher.launch(words, initial_job_idx=numbers[0])
    except Exception as error:
        names = ", ".join(map(str, numbers))
        print(f"trials {names} were interrupted: {one_line(error)}", file=sys.stderr)
        return
    for number, job in zip(numbers, returned, strict=True):
        record_result(study, study.trials[number], folder, job)


def record_result(study: optuna.Study, trial: FrozenTrial, folder: Path, job: JobReturn) -> None:
    """Record the metric of a trial's best checkpoint, or the reason why it has none."""
    if PRUNED in trial.user_attrs:
        study.tell(trial.number, state=TrialState.PRUNED)
        return
    try:
        _ = job.return_value  # for a failed job, prints its command line and raises its error
        figure = figure_of(folder / str(trial.number) / "best.ckpt")
    except Exception as error:
        open_trial(study, folder, trial.number).set_user_attr(ERROR, one_line(error))
        study.tell(trial.number, state=TrialState.FAIL)
    else:
        study.tell(trial.number, figure)


def one_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
