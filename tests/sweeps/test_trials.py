"""Trials report their figures to the study, and stop when they are pruned."""

import math
from pathlib import Path

import pytest
import torch
from optuna.trial import TrialState

from stemsplit.errors import InputError
from stemsplit.sweeps.search_space import propose
from stemsplit.sweeps.study import PRUNED, create_study, open_study
from stemsplit.sweeps.trials import ReportTrial, check, figure_of


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """A study with five finished trials of 5 dB in every epoch."""
    study = create_study(tmp_path)
    for _ in range(5):
        trial = study.ask()
        for epoch in range(3):
            trial.report(5.0, epoch)
        study.tell(trial, 5.0)
    return tmp_path


def test_values_of_a_resumed_sweep_may_come_in_another_order(tmp_path: Path) -> None:
    rates = [1e-3, 1e-4, None]
    study = create_study(tmp_path)
    propose(study.ask(), {"optimizer.lr": rates, "seed": [1]})
    study = open_study(tmp_path)
    study.enqueue_trial({"optimizer.lr": 1e-4, "seed": 1})
    trial = study.ask()
    propose(trial, {"seed": [1], "optimizer.lr": rates[::-1]})
    assert trial.params == {"optimizer.lr": 1e-4, "seed": 1}


@pytest.mark.parametrize(("value", "pruned"), [(1.0, True), (9.0, False)])
def test_trial_behind_the_median_is_pruned(others: Path, value: float, pruned: bool) -> None:
    number = open_study(others).ask().number
    callback = ReportTrial(str(others), number, "validation/sdr/vocals", "median")
    assert callback.falls_behind(0, value) == pruned
    trial = open_study(others).trials[number]
    assert trial.intermediate_values == {0: value}
    assert (PRUNED in trial.user_attrs) == pruned
    assert trial.state == TrialState.RUNNING  # the sweep ends it


def test_repeated_epoch_is_reported_once(others: Path) -> None:
    number = open_study(others).ask().number
    for _ in range(2):  # as after a resumed epoch
        ReportTrial(str(others), number, "validation/sdr/vocals").falls_behind(0, 4.0)
    assert open_study(others).trials[number].intermediate_values == {0: 4.0}


def test_finished_trial_is_not_changed(others: Path) -> None:
    callback = ReportTrial(str(others), 0, "validation/sdr/vocals", "median")
    assert not callback.falls_behind(3, -50.0)
    assert 3 not in open_study(others).trials[0].intermediate_values


def test_errors_name_the_invalid_setting(others: Path) -> None:
    with pytest.raises(InputError, match="-m"):
        ReportTrial(str(others), None, "validation/sdr/vocals")
    with pytest.raises(InputError, match="no trial 99"):
        ReportTrial(str(others), 99, "validation/sdr/vocals")
    for monitor, pruner, says in (
        ("validation/sdr/vocals", "hyperband", "choose null, median or halving"),
        ("validation/loss", None, "cannot maximise it; choose validation/sdr/vocals"),
        ("validation/sdr/vocal", None, "cannot maximise it; choose validation/sdr/vocals"),
    ):
        with pytest.raises(InputError, match=says):
            check(monitor, pruner, ["vocals"])
    check("validation/sdr/vocals", "halving", ["vocals"])
    with pytest.raises(InputError, match="choose null, median or halving"):
        ReportTrial(str(others), 0, "validation/sdr/vocals", "hyperband")


def test_last_epoch_is_pruned_only_if_not_finite(others: Path) -> None:
    number = open_study(others).ask().number
    callback = ReportTrial(str(others), number, "validation/sdr/vocals", "median")
    assert not callback.falls_behind(0, -50.0, last=True)
    assert ReportTrial(str(others), number, "validation/sdr/vocals").falls_behind(1, math.nan)
    assert open_study(others).trials[number].user_attrs[PRUNED] == "not finite"


def test_resumed_pruned_trial_stops(others: Path) -> None:
    number = open_study(others).ask().number
    words = (str(others), number, "validation/sdr/vocals", "median")
    assert not ReportTrial(*words).pruned
    ReportTrial(*words).falls_behind(0, -50.0)
    assert ReportTrial(*words).pruned


def test_figure_is_read_from_the_checkpoint(tmp_path: Path) -> None:
    for figure, state in ((4.5, {"ReportTrial": {"figure": 4.5}}), (None, {})):
        torch.save({"callbacks": state}, tmp_path / "best.ckpt")
        if figure is None:
            with pytest.raises(InputError, match="no finite value"):
                figure_of(tmp_path / "best.ckpt")
        else:
            assert figure_of(tmp_path / "best.ckpt") == figure
