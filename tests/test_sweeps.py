"""Sweeps: killed and gone on with, failed, pruned, and what they find."""

import csv
import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from commands import TINY, epochs, run, start
from omegaconf import OmegaConf
from optuna.trial import TrialState

from stemsplit.training.trials import study_in

EPOCHS = 3


def grid(corpus: list[str], name: str, rates: str, factors: str) -> list[str]:
    return [
        *("-m", "+sweep=lr_decay", "model=mlp", f"sweep.name={name}", f"epochs={EPOCHS}"),
        *(f"optimizer.lr={rates}", f"scheduler.factor={factors}", "optimizer.weight_decay=1e-5"),
        *("data.downsample.chunks=0.5", *corpus, *TINY),
    ]


def kill_in(trial: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not (trial / "metrics.csv").is_file() or not epochs(trial):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize(
    ("rates", "factors"),
    [
        (["1e-3", "1e-2"], ["0.1", "0.5"]),
        pytest.param(["1e-4", "1e-3", "1e-2"], ["0.1", "0.3", "0.8"], marks=pytest.mark.slow),
    ],
)
def test_a_sweep_is_killed_twice_and_ends(
    place: Path, corpus: list[str], rates: list[str], factors: list[str]
) -> None:
    total = len(rates) * len(factors)
    command = grid(corpus, f"killed-{total}", ",".join(rates), ",".join(factors))
    folder = place / f"runs/sweeps/killed-{total}"
    for trial in (0, 2):
        kill_in(folder / str(trial), start(place, "train", *command))
    ended = {path: path.stat().st_mtime_ns for path in folder.glob("*/result.json")}
    output = run(place, "train", *command)

    trials = study_in(folder).trials
    assert [trial.state for trial in trials] == total * [TrialState.COMPLETE]
    assert len({tuple(trial.params.values()) for trial in trials}) == total
    numbers = {path.parent.name for path in folder.glob("*/config.yaml")}
    assert numbers == set(map(str, range(total)))
    assert ended
    assert all(path.stat().st_mtime_ns == moment for path, moment in ended.items())
    for number in range(total):
        assert epochs(folder / str(number)) == [str(epoch) for epoch in range(EPOCHS)]
        result = json.loads((folder / f"{number}/result.json").read_text())
        assert result["trained_on"]["downsample"]["chunks"] == 0.5
    with (folder / "trials.csv").open(newline="") as file:
        best = max(csv.DictReader(file), key=lambda row: float(row["validation_sdr"]))
    found = OmegaConf.load(folder / "best.yaml")
    assert float(best["optimizer.lr"]) == found["optimizer.lr"]
    assert (folder / "heat_map.png").stat().st_size > 5_000
    report = (folder / "report.html").read_text()
    assert "Heat map of the trials" in report
    assert report.count(", best</td>") == 1
    assert f"best: trial {best['trial']}" in output


def test_the_best_settings_train(place: Path, corpus: list[str]) -> None:
    best = place / "best.yaml"
    best.write_text("optimizer.lr: 0.004\nscheduler.factor: 0.2\n")
    tuned = [
        f"tuned={best}",
        "scheduler.factor=0.7",
        "epochs=1",
        f"hydra.run.dir={place / 'tuned'}",
    ]
    run(place, "train", "model=mlp", *corpus, *TINY, *tuned)
    config = OmegaConf.load(place / "tuned/config.yaml")
    assert config.optimizer.lr == 0.004
    assert config.scheduler.factor == 0.7  # the command line has the last word
    best.write_text("optimizer.momentum: 0.9\n")
    process = start(place, "train", "model=mlp", *corpus, *TINY, *tuned)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "there is no setting optimizer.momentum" in errors


def test_what_fails_is_tried_again_and_another_sweep_refused(
    place: Path, corpus: list[str]
) -> None:
    command = grid(corpus, "failing", "1e-3,-1", "0.5")
    folder = place / "runs/sweeps/failing"
    for failures in (1, 2):
        process = start(place, "train", *command)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 1
        assert "1 trials failed" in errors
        assert "learning rate" in errors
        states = [trial.state.name for trial in study_in(folder).trials]
        assert states == ["COMPLETE", *failures * ["FAIL"]]
    process = start(place, "train", *command, "seed=1")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "holds another sweep" in errors
    assert "sweep.name=" in errors


@pytest.mark.slow
def test_a_ranking_trains_on_the_full_set_once(place: Path, corpus: list[str]) -> None:
    folder = place / "runs/sweeps/ranked"
    run(place, "train", *grid(corpus, "ranked", "1e-5,1e-3,1e-2", "0.5"))
    command = ["ranking", str(folder), "epochs=4", "--trials", "3"]
    assert "Kendall's tau" in run(place, "report", *command)
    found = json.loads((folder / "ranking.json").read_text())
    assert {row["trial"] for row in found["trials"]} == {0, 1, 2}
    assert -1 <= found["kendall"]["low"] <= found["kendall"]["tau"] <= found["kendall"]["high"] <= 1
    for row in found["trials"]:
        result = json.loads((folder / f"full/{row['trial']}/result.json").read_text())
        assert result["trained_on"]["downsample"]["chunks"] == 1
        assert len(epochs(folder / f"full/{row['trial']}")) == 4
        config = OmegaConf.load(folder / f"full/{row['trial']}/config.yaml")
        assert config.optimizer.lr == row["optimizer.lr"]
    moments = {path: path.stat().st_mtime_ns for path in folder.glob("full/*/result.json")}
    run(place, "report", *command)
    assert all(path.stat().st_mtime_ns == moment for path, moment in moments.items())


@pytest.mark.parametrize(
    ("words", "says"),
    [(["nowhere"], "no study.journal"), (["empty", "--trials", "2"], "at least 3")],
)
def test_a_ranking_of_nothing_is_refused(place: Path, words: list[str], says: str) -> None:
    (place / "empty").mkdir(exist_ok=True)
    study_in(place / "empty")
    process = start(place, "report", "ranking", *words)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 1
    assert says in errors
