"""Sweeps: killed and gone on with, failed, pruned, and what they find."""

import csv
import json
import signal
import time
from pathlib import Path

import pytest
import torch
from commands import TINY, Process, epochs, rows, run, start
from filelock import FileLock
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from optuna.trial import TrialState

from stemsplit import train
from stemsplit.errors import InputError
from stemsplit.sweeps.ranking import monitored_in
from stemsplit.sweeps.report import importance_in, report, state_of
from stemsplit.sweeps.search_space import propose, values_of, words_of
from stemsplit.sweeps.sweeper import ASKED_FOR, write_best
from stemsplit.sweeps.trials import begin, study_in

EPOCHS = 3
JOBLIB = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.jobs=2"]
LOG_FROM_0 = "optimizer.lr=tag(log,interval(0,1e-2))"


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
def test_a_killed_sweep_goes_on(
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
    output = run(place, "train", *command, *launcher)  # which may be another one than before

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
    assert set(found) == {"optimizer.lr", "scheduler.factor", "optimizer.weight_decay"}
    assert float(best["optimizer.lr"]) == found["optimizer.lr"]
    assert (folder / "heat_map.png").stat().st_size > 5_000
    report = (folder / "report.html").read_text()
    assert "Heat map of the trials" in report
    assert report.count(", best</td>") == 1
    assert f"best: trial {best['trial']}" in output


def test_the_best_settings_train(place: Path, corpus: list[str]) -> None:
    best = place / "best.yaml"
    best.write_text(
        "optimizer: adamw\noptimizer.lr: 0.004\nscheduler.factor: 0.2\n+optimizer.amsgrad: true\n"
    )
    tuned = [
        f"tuned={best}",
        "scheduler.factor=0.7",
        "epochs=1",
        f"hydra.run.dir={place / 'tuned'}",
    ]
    run(place, "train", "model=mlp", *corpus, *TINY, *tuned)
    config = OmegaConf.load(place / "tuned/config.yaml")
    assert config.optimizer.lr == 0.004
    assert config.optimizer.amsgrad
    assert config.optimizer._target_.endswith("AdamW")
    assert config.scheduler.factor == 0.7  # the command line has the last word
    for settings, says in (
        ("optimizer.momentum: 0.9\n", "optimizer.momentum is no setting of a training"),
        ("optimizer.lr: [\n", "is damaged"),
        ("", "holds no settings"),
    ):
        best.write_text(settings)
        process = start(place, "train", f"tuned={best}", *corpus, *TINY)
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 1
        assert says in errors
        assert str(best) in output + errors


def test_what_fails_is_tried_again_what_diverges_is_not_and_another_sweep_refused(
    place: Path, corpus: list[str]
) -> None:
    command = [*grid(corpus, "failing", "1e-3,1e30", "0.5"), "+optimizer.eps=1e-8,-1"]
    folder = place / "runs/sweeps/failing"
    for failures in (1, 2):
        process = start(place, "train", *command)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 1
        assert "2 trials failed" in errors
        assert "epsilon" in errors
        states = [state_of(trial) for trial in study_in(folder).trials]
        assert states.count("complete") == states.count("pruned: not finite") == 1
        assert sum("epsilon" in state for state in states) == len(states) - 2 == 2 * failures
    assert "pruned: not finite" in (folder / "report.html").read_text()
    process = start(place, "train", *command, "seed=1", "data.workers=1")  # this one is no matter
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "holds another sweep (seed 0 and now 1)" in errors
    assert "sweep.name=" in errors


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["optimizer.lrr=1e-3,1e-4"], "optimizer.lrr"),
        (["model=mlp,mlpp", "sweep.name=several"], "mlpp"),
        (["model=mlp,lstm"], "sweep.name="),
        (["optimizer.lr=interval(1e-4,1e-2)"], "a grid needs values"),
        (
            ["hydra.sweeper.sampler=tpe", "hydra.sweeper.trials=2", LOG_FROM_0],
            "choose a number above 0",
        ),
        (["hydra.sweeper.sampler=tpe"], "hydra.sweeper.trials"),
        (["hydra.sweeper.sampler=random"], "choose grid or tpe"),
        (["hydra.sweeper.jobs=0"], "at least 1"),
        (["hydra.sweeper.trials=3"], "as many as it has combinations"),
        (["callbacks.trial.pruner=medain"], "choose median or halving, or null"),
        (["callbacks.trial.monitor=validation/loss"], "highest of validation/sdr/vocals"),
        (["callbacks.trial=null"], "needs its trials"),
        (["evaluate_test=true"], "leaves the test songs alone"),
        (["data.downsample.songs=0.5,1"], "for the full set"),
        (["tuned=nowhere.yaml"], "nowhere.yaml: No such file"),
    ],
)
def test_what_cannot_be_tried_is_refused_before_there_is_a_study(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["train", "-m", "+sweep=lr_decay", *words])
    with pytest.raises(SystemExit) as ended:
        train.main()
    assert ended.value.code == 1
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_any_kind_of_value_is_tried_and_found_again(tmp_path: Path) -> None:
    line = "setting=null,true,2,1e-5,word,'a b, c',[1,2],{a:1},2"
    [override] = OverridesParser.create().parse_overrides([line])
    values = values_of(override)
    assert len(values) == 8  # 2 once
    study = begin(tmp_path)
    study.set_user_attr(ASKED_FOR, {"words": []})
    for value in values:
        study.enqueue_trial({"setting": value})
    plain = [None, True, 2, 1e-5, "word", "a b, c", [1, 2], {"a": 1}]
    for number, expected in enumerate(plain):
        trial = study.ask()
        propose(trial, {"setting": values})
        study.tell(trial, number)
        [override] = OverridesParser.create().parse_overrides(words_of(study.best_params))
        assert override.value() == expected
        write_best(study, tmp_path / "best.yaml", [])
        assert OmegaConf.load(tmp_path / "best.yaml") == {"setting": expected}


def test_the_command_of_the_best_settings_trains_on_the_full_set(tmp_path: Path) -> None:
    study = begin(tmp_path)
    words = ["+sweep=lr_decay", "++data.downsample.chunks=0.5", "model=mlp", "sweep.name=a"]
    words.append("data.root='/my songs'")
    study.set_user_attr(ASKED_FOR, {"words": [*words, "optimizer.weight_decay=0"]})
    trial = study.ask()
    propose(trial, {"optimizer.lr": [1e-3]})
    study.tell(trial, 1.0)
    write_best(study, tmp_path / "best.yaml", ["optimizer.weight_decay"])
    command = (tmp_path / "best.yaml").read_text().splitlines()[0].split("stemsplit.train ")[1]
    assert command == f"model=mlp 'data.root=/my songs' tuned={tmp_path / 'best.yaml'}"
    found = OmegaConf.load(tmp_path / "best.yaml")
    assert found == {"optimizer.weight_decay": 0, "optimizer.lr": 1e-3}


def test_of_several_validations_the_best_checkpoints_counts(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,epoch,sdr\n3,0,1.0\n7,0,3.0\n11,1,2.0\n")
    for steps, figure in ((4, 1.0), (8, 3.0), (12, 2.0)):
        torch.save({"global_step": steps}, tmp_path / "best.ckpt")
        assert monitored_in(tmp_path, "sdr") == figure
    with pytest.raises(InputError, match="has no gain"):
        monitored_in(tmp_path, "gain")


def test_a_sweep_of_which_nothing_ended_or_that_makes_no_difference_has_a_page(
    tmp_path: Path,
) -> None:
    study = begin(tmp_path)
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
def test_workers_end_with_their_killed_sweep_and_a_trial_has_one_process(
    place: Path, corpus: list[str]
) -> None:
    command = [*grid(corpus, "outlived", "1e-3,1e-2", "0.5"), "epochs=12", *JOBLIB]
    folder = place / "runs/sweeps/outlived"
    kill_in(folder / "0", start(place, "train", *command))  # waits until the workers let go too
    with FileLock(folder / "0/.lock", timeout=10):  # as of a cluster's job that still trains
        process = start(place, "train", *command)
        time.sleep(20)
        assert process.poll() is None
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "another process is still at this trial" in errors
    for trial in study_in(folder).trials:
        assert trial.state == TrialState.COMPLETE
        assert epochs(folder / str(trial.number)) == [str(epoch) for epoch in range(12)]


@pytest.mark.slow
def test_optuna_proposes_prunes_and_shares_its_study_with_workers(
    place: Path, corpus: list[str]
) -> None:
    command = [
        *("-m", "+sweep=lr_decay_optuna", "model=mlp", "sweep.name=proposed", "epochs=3"),
        *("hydra.sweeper.trials=10", "callbacks.trial.pruner=halving", *JOBLIB, *corpus, *TINY),
    ]
    folder = place / "runs/sweeps/proposed"
    output = run(place, "train", *command)
    trials = study_in(folder).trials
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
    assert len(study_in(folder).trials) == 12


@pytest.mark.slow
def test_a_ranking_trains_on_the_full_set_once(place: Path, corpus: list[str]) -> None:
    folder = place / "runs/sweeps/ranked"
    run(place, "train", *grid(corpus, "ranked", "1e-5,1e-3,1e-2", "0.5"))
    command = ["ranking", str(folder), "epochs=4", "--trials", "3"]
    assert "Kendall's tau" in run(place, "report", *command)
    found = json.loads((folder / "ranking.json").read_text())
    assert {row["trial"] for row in found["trials"]} == {0, 1, 2}
    figures = {trial.number: trial.value for trial in study_in(folder).trials}
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
    assert "holds trainings with [epochs=4], not with [epochs=4 epochs=5]" in errors


@pytest.mark.parametrize(
    ("words", "says"),
    [(["nowhere"], "no study.journal"), (["empty", "--trials", "2"], "at least 3")],
)
def test_a_ranking_of_nothing_is_refused(place: Path, words: list[str], says: str) -> None:
    (place / "empty").mkdir(exist_ok=True)
    begin(place / "empty")
    process = start(place, "report", "ranking", *words)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 1
    assert says in errors
