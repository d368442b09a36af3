"""Separation of one job by the stems' own code."""

from pathlib import Path

import pytest
from conftest import Enter, song_bytes

import stemsplit
from stemsplit.errors import Cancelled, InputError
from stemsplit.page.job import Job, State
from stemsplit.page.models import Models
from stemsplit.page.work import separate_job


@pytest.fixture
def job(tmp_path: Path) -> Job:
    job = Job(tmp_path, "song", "tiny")
    job.song.write_bytes(song_bytes())
    return job


@pytest.fixture
def models(checkpoint: Path) -> Models:
    return Models({"tiny": checkpoint}, stemsplit.load)


def test_cancelled_separation_leaves_no_stems(
    job: Job, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "progress", lambda fraction: False)
    with pytest.raises(Cancelled):
        separate_job(job, models)
    assert [path.name for path in job.folder.rglob("*")] == ["song"]


def test_cancelled_job_does_not_load_its_model(job: Job, models: Models) -> None:
    job.state = State.CANCELLED
    with pytest.raises(Cancelled):
        separate_job(job, models)
    assert models.load.cache_info().currsize == 0


def test_model_that_cannot_be_loaded_is_an_error(job: Job, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a checkpoint"):
        separate_job(job, Models({"tiny": tmp_path / "absent"}, stemsplit.load))


def test_losses_of_a_damaged_song_are_shown(enter: Enter) -> None:
    song = enter().separated(content=song_bytes()[:-5000])
    assert song["state"] == "done"
    assert song["message"] != ""
    assert "/" not in song["message"]  # no path of the server
