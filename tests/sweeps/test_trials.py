"""Trials report to their study, and end where they fall behind."""

import math
from pathlib import Path

import pytest
import torch
from optuna.trial import TrialState

from stemsplit.errors import InputError
from stemsplit.sweeps.trials import PRUNED, ReportTrial, begin, check, figure_of, study_in


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """A study with five finished trials of 5 dB in every epoch."""
    study = begin(tmp_path)
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
    assert (PRUNED in trial.user_attrs) == pruned
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
    for monitor, pruner, says in (
        ("validation/sdr/vocals", "hyperband", "choose null, median or halving"),
        ("validation/loss", None, "highest of validation/sdr/vocals"),
        ("validation/sdr/vocal", None, "highest of validation/sdr/vocals"),
    ):
        with pytest.raises(InputError, match=says):
            check(monitor, pruner, ["vocals"])
    check("validation/sdr/vocals", "halving", ["vocals"])
    with pytest.raises(InputError, match="choose null, median or halving"):
        ReportTrial(str(others), 0, "validation/sdr/vocals", "hyperband")


def test_the_last_epoch_is_never_pruned_and_what_is_not_finite_always(others: Path) -> None:
    number = study_in(others).ask().number
    callback = ReportTrial(str(others), number, "validation/sdr/vocals", "median")
    assert not callback.falls_behind(0, -50.0, last=True)
    assert ReportTrial(str(others), number, "validation/sdr/vocals").falls_behind(1, math.nan)
    assert study_in(others).trials[number].user_attrs[PRUNED] == "not finite"


def test_resumed_pruned_trial_stops(others: Path) -> None:
    number = study_in(others).ask().number
    words = (str(others), number, "validation/sdr/vocals", "median")
    assert not ReportTrial(*words).pruned
    ReportTrial(*words).falls_behind(0, -50.0)
    assert ReportTrial(*words).pruned


def test_reading_a_study_writes_nothing_and_a_torn_line_is_taken_off(others: Path) -> None:
    journal = others / "study.journal"
    whole = journal.read_bytes()
    study_in(others)
    assert journal.read_bytes() == whole
    journal.write_bytes(whole[:-5])  # the last trial's end
    assert begin(others).trials[4].state == TrialState.RUNNING
    assert len(study_in(others).trials) == 5
    journal.write_bytes(b"{nonsense\n" + whole)
    for opened in (begin, study_in):
        with pytest.raises(InputError, match="is damaged"):
            opened(others)


def test_the_figure_is_that_of_the_checkpoint(tmp_path: Path) -> None:
    for figure, state in ((4.5, {"ReportTrial": {"figure": 4.5}}), (None, {})):
        torch.save({"callbacks": state}, tmp_path / "best.ckpt")
        if figure is None:
            with pytest.raises(InputError, match="no finite figure"):
                figure_of(tmp_path / "best.ckpt")
        else:
            assert figure_of(tmp_path / "best.ckpt") == figure
