"""Trials report to their study, and end where they fall behind."""

from pathlib import Path

import pytest
from optuna.trial import TrialState

from stemsplit.errors import InputError
from stemsplit.training.trials import PRUNED, ReportTrial, study_in


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """A study with five finished trials of 5 dB in every epoch."""
    study = study_in(tmp_path)
    for _ in range(5):
        trial = study.ask()
        for epoch in range(3):
            trial.report(5.0, epoch)
        study.tell(trial, 5.0)
    return tmp_path


@pytest.mark.parametrize(("value", "pruned"), [(1.0, True), (9.0, False)])
def test_what_falls_behind_ends(others: Path, value: float, pruned: bool) -> None:
    number = study_in(others).ask().number
    callback = ReportTrial(str(others), number, "validation/sdr/vocals", "median")
    assert callback.falls_behind(0, value) == pruned
    trial = study_in(others).trials[number]
    assert trial.intermediate_values == {0: value}
    assert trial.user_attrs.get(PRUNED, False) == pruned
    assert trial.state == TrialState.RUNNING  # the sweep says when it ends


def test_an_epoch_counts_once(others: Path) -> None:
    number = study_in(others).ask().number
    for _ in range(2):  # as after a resumed epoch
        ReportTrial(str(others), number, "validation/sdr/vocals").falls_behind(0, 4.0)
    assert study_in(others).trials[number].intermediate_values == {0: 4.0}


def test_a_finished_trial_stays_as_it_is(others: Path) -> None:
    callback = ReportTrial(str(others), 0, "validation/sdr/vocals", "median")
    assert not callback.falls_behind(3, -50.0)
    assert 3 not in study_in(others).trials[0].intermediate_values


def test_wrong_settings_are_named(others: Path) -> None:
    with pytest.raises(InputError, match="-m"):
        ReportTrial(str(others), None, "validation/sdr/vocals")
    with pytest.raises(InputError, match="no trial 99"):
        ReportTrial(str(others), 99, "validation/sdr/vocals")
    with pytest.raises(InputError, match="choose null, median or halving"):
        ReportTrial(str(others), 0, "validation/sdr/vocals", "hyperband")
