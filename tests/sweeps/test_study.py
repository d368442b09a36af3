"""The study of a sweep can be opened by several processes, and after a kill."""

from pathlib import Path

import pytest
from optuna.trial import TrialState

from stemsplit.errors import InputError
from stemsplit.sweeps.study import (
    REPEATS,
    create_study,
    failed_trials,
    open_study,
    open_trial,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a study with two finished trials."""
    study = create_study(tmp_path)
    for figure in (5.0, 6.0):
        study.tell(study.ask(), figure)
    return tmp_path


def test_reading_writes_nothing(folder: Path) -> None:
    before = (folder / "study.journal").read_bytes()
    open_study(folder)
    assert (folder / "study.journal").read_bytes() == before


def test_unfinished_last_line_is_removed(folder: Path) -> None:
    journal = folder / "study.journal"
    journal.write_bytes(journal.read_bytes()[:-5])  # the end of the last trial
    assert create_study(folder).trials[1].state == TrialState.RUNNING
    assert len(open_study(folder).trials) == 2


def test_damaged_journal_is_an_error(folder: Path) -> None:
    journal = folder / "study.journal"
    journal.write_bytes(b"{nonsense\n" + journal.read_bytes())
    for function in (create_study, open_study):
        with pytest.raises(InputError, match="is damaged"):
            function(folder)


def test_another_process_reports_to_a_trial_by_its_number(folder: Path) -> None:
    study = create_study(folder)
    number = study.ask().number
    trial = open_trial(open_study(folder), folder, number)  # of another process
    assert trial.number == number
    trial.report(3.0, step=0)
    trial.set_user_attr("note", "kept")
    assert study.trials[number].intermediate_values == {0: 3.0}
    assert study.trials[number].user_attrs == {"note": "kept"}
    with pytest.raises(InputError, match="has no trial 99"):
        open_trial(study, folder, 99)


def test_repeated_trial_counts_no_longer_as_failed(folder: Path) -> None:
    study = create_study(folder)
    failed = study.ask()
    study.tell(failed, state=TrialState.FAIL)
    assert [trial.number for trial in failed_trials(study)] == [failed.number]
    study.enqueue_trial({}, {REPEATS: failed.number})
    assert failed_trials(study) == []
