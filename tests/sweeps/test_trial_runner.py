"""Trials are queued once, and interrupted trials run first."""

from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.trial import TrialState

from stemsplit.sweeps.definition import Definition, define
from stemsplit.sweeps.report import settings_of
from stemsplit.sweeps.study import create_study
from stemsplit.sweeps.trial_runner import enqueue, next_trials

RATES, FACTORS = [1e-4, 1e-3], [0.1, 0.3, 0.8]


def grid(jobs: int = 1) -> Definition:
    params = {"optimizer.lr": "1e-4,1e-3", "scheduler.factor": "0.1,0.3,0.8"}
    parser = OverridesParser.create()
    return define([], params, parser, sampler="grid", trials=None, jobs=jobs, seed=0)


def test_every_combination_is_queued_once_and_shown(tmp_path: Path) -> None:
    study = create_study(tmp_path)
    for _ in range(2):  # a sweep and its resumption
        assert enqueue(study, grid()) == 6
    assert [trial.state for trial in study.trials] == 6 * [TrialState.WAITING]
    assert [settings_of(trial) for trial in study.trials] == [
        {"optimizer.lr": rate, "scheduler.factor": factor} for rate in RATES for factor in FACTORS
    ]


def test_failed_trial_is_repeated_once(tmp_path: Path) -> None:
    study = create_study(tmp_path)
    enqueue(study, grid())
    [number] = next_trials(study, grid(), [], 6, tmp_path)
    study.tell(number, state=TrialState.FAIL)
    for _ in range(2):
        assert enqueue(study, grid()) == 7
    assert settings_of(study.trials[6]) == settings_of(study.trials[number])


def test_interrupted_trials_come_first(tmp_path: Path) -> None:
    study = create_study(tmp_path)
    enqueue(study, grid())
    study.ask()  # killed before it had parameters
    interrupted = [0]
    assert next_trials(study, grid(jobs=2), interrupted, 6, tmp_path) == [0, 1]
    assert interrupted == []
    assert study.trials[0].params == {"optimizer.lr": 1e-4, "scheduler.factor": 0.1}
    assert next_trials(study, grid(jobs=9), interrupted, 6, tmp_path) == [2, 3, 4, 5]
    assert next_trials(study, grid(jobs=9), interrupted, 6, tmp_path) == []
