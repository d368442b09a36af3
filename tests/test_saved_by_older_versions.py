"""Runs, sweeps, decoded songs and scores saved by an older version still load and continue.

``fixtures/saved_2026_11.tar.xz`` was made by the version of 27 November 2026, before the package
was reorganised. It contains an MLP trained for one epoch on three tiny songs and scored on the test
song, and a sweep of two trials. The folder in which they were made is replaced by ``/before``.
"""

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import epochs, run
from omegaconf import OmegaConf

import stemsplit
from stemsplit.command_line.composition import composed
from stemsplit.command_line.prepared import prepared
from stemsplit.configuration import make, register_resolvers, saved
from stemsplit.sweeps.record import DEFINITION
from stemsplit.sweeps.study import open_study

SAVED = Path(__file__).with_name("fixtures") / "saved_2026_11.tar.xz"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    with tarfile.open(SAVED) as archive:
        archive.extractall(folder, filter="data")
    return folder


def written(folder: Path, pattern: str) -> dict[str, int]:
    """The modification time of each file, in nanoseconds."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob(pattern)}


def test_checkpoint_loads_and_separates(place: Path) -> None:
    separator = stemsplit.load(place / "run")
    mixture = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 8000)).astype(np.float32)
    stems = separator.separate(torch.from_numpy(mixture), 8000)
    torch.testing.assert_close(sum(stems.values()), torch.from_numpy(mixture), rtol=0, atol=1e-5)


def test_old_class_names_are_replaced(place: Path) -> None:
    register_resolvers()
    config = saved(place / "run")
    for group in ("model", "callbacks", "logger"):
        make(config[group], group)
    plain = json.dumps(OmegaConf.to_container(config))
    assert "stemsplit.checkpoint.build" not in plain
    assert "stemsplit.separation.checkpoint.build" in plain


def test_evaluation_reuses_decoded_songs_and_scores(place: Path) -> None:
    songs, scores = place / "cache/tracks", place / "run/evaluations"
    museval = next(scores.glob("*/museval"))
    before, scored = written(songs, "*.npy"), written(museval, "*.json")
    result = next(scores.glob("*/result.json"))
    medians = json.loads(result.read_text())["scores"]
    run(place, "evaluate", "checkpoint=run", f"data.root={place / 'corpus'}")
    assert written(songs, "*.npy") == before
    assert written(museval, "*.json") == scored
    assert json.loads(result.read_text())["scores"] == medians


def test_training_resumes(place: Path) -> None:
    before = written(place / "cache/tracks", "*.npy")
    run(place, "train", "resume=run", f"data.root={place / 'corpus'}", "epochs=2")
    assert epochs(place / "run") == ["0", "1"]
    assert written(place / "cache/tracks", "*.npy") == before
    run(place, "report", "run")
    assert (place / "run/report.html").is_file()


def test_sweep_is_reported(place: Path) -> None:
    trials = open_study(place / "sweep").trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "COMPLETE"]
    run(place, "report", "sweep")
    assert (place / "sweep/report.html").is_file()


def test_sweep_goes_on(place: Path) -> None:
    folder = place / "runs/sweeps/lr_decay-mlp"
    shutil.copytree(place / "sweep", folder)
    journal = folder / "study.journal"
    journal.write_text(journal.read_text().replace("/before/corpus", str(place / "corpus")))
    before = written(folder, "*.ckpt")
    words = open_study(folder).user_attrs[DEFINITION]["words"]
    run(place, "train", "-m", *words, "optimizer.lr=1e-3,1e-4")
    assert written(folder, "*.ckpt") == before
    assert OmegaConf.load(folder / "best.yaml").optimizer.lr == 1e-3


def test_best_settings_of_a_sweep_are_read(place: Path) -> None:
    register_resolvers()
    arguments, *_ = prepared("train", [f"tuned={place / 'sweep/best.yaml'}"])
    with composed("train", arguments) as config:
        assert (config.optimizer.lr, config.scheduler.factor) == (1e-3, 0.3)


@pytest.mark.parametrize(
    ("module", "name"),
    [("stemsplit.wiener", "wiener"), ("stemsplit.evaluation.bsseval", "bss_eval")],
)
def test_old_import_paths(module: str, name: str) -> None:
    function: Callable[..., Any] = getattr(__import__(module, fromlist=[name]), name)
    assert function.__name__ == name
