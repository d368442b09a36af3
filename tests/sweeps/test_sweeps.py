"""Whole sweeps: killed and resumed, failed, pruned, reported and ranked."""

import csv
import json
import signal
import sys
import time
from pathlib import Path

import pytest
from commands import TINY, Process, epochs, rows, run, start
from filelock import FileLock
from omegaconf import OmegaConf
from optuna.trial import TrialState

from stemsplit.sweeps.report import importance_in, report, state_of
from stemsplit.sweeps.search_space import propose
from stemsplit.sweeps.study import create_study, open_study

EPOCHS = 3
JOBLIB = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.jobs=2"]


def grid(corpus: list[str], name: str, rates: str, factors: str) -> list[str]:
    return [
        *("-m", "+sweep=lr_decay", "model=mlp", f"sweep.name={name}", f"epochs={EPOCHS}"),
        *(f"optimizer.lr={rates}", f"scheduler.factor={factors}", "optimizer.weight_decay=1e-5"),
        *("data.downsample.chunks=0.5", *corpus, *TINY),
    ]


def kill_in(trial: Path, process: Process) -> None:
    deadline = time.monotonic() + 240
    while not (trial / "metrics.csv").is_file() or not epochs(trial):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize(
    ("kills", "launcher", "rates", "factors"),
    [
        ([1], [], ["1e-3", "1e-2"], ["0.1", "0.5"]),
        pytest.param(
            [0, 2], JOBLIB, ["1e-4", "1e-3", "1e-2"], ["0.1", "0.3", "0.8"], marks=pytest.mark.slow
        ),
    ],
)
def test_killed_sweep_resumes(
    place: Path,
    corpus: list[str],
    kills: list[int],
    launcher: list[str],
    rates: list[str],
    factors: list[str],
) -> None:
    total = len(rates) * len(factors)
    command = grid(corpus, f"killed-{total}", ",".join(rates), ",".join(factors))
    folder = place / f"runs/sweeps/killed-{total}"
    for trial in kills:
        kill_in(folder / str(trial), start(place, "train", *command))
    ended = {path: path.stat().st_mtime_ns for path in folder.glob("*/result.json")}
    output = run(place, "train", *command, *launcher)  # another launcher may resume it

    trials = open_study(folder).trials
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
    assert set(found) == {"optimizer", "scheduler"}
    assert set(found.optimizer) == {"lr", "weight_decay"}
    assert float(best["optimizer.lr"]) == found.optimizer.lr
    assert (folder / "heat_map.png").stat().st_size > 5_000
    report = (folder / "report.html").read_text()
    assert "Heat maps of the trials" in report
    assert report.count(", best</td>") == 1
    assert f"best: trial {best['trial']}" in output


def test_failed_trials_run_again_and_diverged_ones_do_not(place: Path, corpus: list[str]) -> None:
    command = [*grid(corpus, "failing", "1e-3,1e30", "0.5"), "+optimizer.eps=1e-8,-1"]
    folder = place / "runs/sweeps/failing"
    for failures in (1, 2):
        process = start(place, "train", *command)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 1
        assert "2 trials failed" in errors
        assert "epsilon" in errors
        states = [state_of(trial) for trial in open_study(folder).trials]
        assert states.count("complete") == states.count("pruned: not finite") == 1
        assert sum("epsilon" in state for state in states) == len(states) - 2 == 2 * failures
    assert "pruned: not finite" in (folder / "report.html").read_text()
    process = start(place, "train", *command, "seed=1", "data.workers=1")  # workers may differ
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "holds another sweep (seed: 0 before, 1 now)" in errors
    assert "sweep.name=" in errors


def test_report_without_finished_trials_or_with_equal_figures(
    tmp_path: Path,
) -> None:
    study = create_study(tmp_path)
    axes = {"optimizer.lr": [1e-3, 1e-4, 1e-5], "scheduler.factor": [0.1, 0.5]}
    for number in range(2):
        study.enqueue_trial({name: values[number] for name, values in axes.items()})
        trial = study.ask()
        propose(trial, axes)
        trial.report(number, 0)
        study.tell(trial, state=TrialState.PRUNED)
    report(study, tmp_path)
    assert not (tmp_path / "best.yaml").exists()
    assert (tmp_path / "heat_map.png").stat().st_size > 5_000
    assert "pruned" in (tmp_path / "report.html").read_text()
    for _ in range(12):
        trial = study.ask()
        propose(trial, axes)
        study.tell(trial, 1.0)
    report(study, tmp_path)
    assert importance_in(study) == {}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a started command shows its output at its end")
def test_workers_end_with_their_sweep_and_a_trial_has_one_process(
    place: Path, corpus: list[str]
) -> None:
    command = [*grid(corpus, "outlived", "1e-3,1e-2", "0.5"), "epochs=12", *JOBLIB]
    folder = place / "runs/sweeps/outlived"
    kill_in(folder / "0", start(place, "train", *command))  # waits for the workers too
    with FileLock(folder / "0/.lock", timeout=10):  # like a job of a cluster that still trains
        process = start(place, "train", *command)
        while "another process is still training this trial" not in process.errors:
            assert process.poll() is None, process.errors
            time.sleep(0.1)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    for trial in open_study(folder).trials:
        assert trial.state == TrialState.COMPLETE
        assert epochs(folder / str(trial.number)) == [str(epoch) for epoch in range(12)]


@pytest.mark.slow
def test_optuna_samples_and_prunes_with_workers(place: Path, corpus: list[str]) -> None:
    command = [
        *("-m", "+sweep=lr_decay_optuna", "model=mlp", "sweep.name=proposed", "epochs=3"),
        *("hydra.sweeper.trials=10", "callbacks.trial.pruner=halving", *JOBLIB, *corpus, *TINY),
    ]
    folder = place / "runs/sweeps/proposed"
    output = run(place, "train", *command)
    trials = open_study(folder).trials
    assert len(trials) == 10
    assert {trial.state for trial in trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    assert all(1e-4 <= trial.params["optimizer.lr"] <= 1e-2 for trial in trials)
    assert len({trial.params["optimizer.lr"] for trial in trials}) == 10
    for trial in trials:
        scored = (folder / str(trial.number) / "result.json").is_file()
        assert scored == (trial.state == TrialState.COMPLETE)
    assert "fell behind" in output
    more = [word.replace("trials=10", "trials=12") for word in command]
    run(place, "train", *more)
    assert len(open_study(folder).trials) == 12


@pytest.mark.slow
def test_ranking_trains_on_the_full_set_once(place: Path, corpus: list[str]) -> None:
    folder = place / "runs/sweeps/ranked"
    run(place, "train", *grid(corpus, "ranked", "1e-5,1e-3,1e-2", "0.5"))
    command = ["ranking", str(folder), "epochs=4", "--trials", "3"]
    assert "Kendall's tau" in run(place, "report", *command)
    found = json.loads((folder / "ranking.json").read_text())
    assert {row["trial"] for row in found["trials"]} == {0, 1, 2}
    figures = {trial.number: trial.value for trial in open_study(folder).trials}
    assert all(row["downsampled"] == figures[row["trial"]] for row in found["trials"])
    assert -1 <= found["kendall"]["low"] <= found["kendall"]["tau"] <= found["kendall"]["high"] <= 1
    for row in found["trials"]:
        result = json.loads((folder / f"full/{row['trial']}/result.json").read_text())
        assert result["trained_on"]["downsample"]["chunks"] == 1
        assert len(epochs(folder / f"full/{row['trial']}")) == 4
        full = [
            float(measured)
            for line in rows(folder / f"full/{row['trial']}")
            if (measured := line.get("validation/sdr/vocals"))
        ]
        assert row["full"] in full
        config = OmegaConf.load(folder / f"full/{row['trial']}/config.yaml")
        assert config.optimizer.lr == row["optimizer.lr"]
    moments = {path: path.stat().st_mtime_ns for path in folder.glob("full/*/result.json")}
    run(place, "report", *command)
    assert all(path.stat().st_mtime_ns == moment for path, moment in moments.items())
    process = start(place, "report", *command, "epochs=5")
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 1
    assert "holds runs with [epochs=4], not with [epochs=4 epochs=5]" in errors
