"""What Weights & Biases gets to see of a training, read back from its offline files."""

import importlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import wandb
from matplotlib import image
from test_train import configuration
from wandb_files import OfflineRun, offline_runs, read
from wandb_server import StandIn

from stemsplit import audio
from stemsplit.errors import InputError
from stemsplit.reporting.workspace_view import SWEPT, specification, workspace
from stemsplit.train import train
from stemsplit.training.loggers.weights_and_biases import (
    Record,
    WeightsAndBiases,
    finish,
    weights_and_biases,
)
from stemsplit.workspace import main

pytestmark = pytest.mark.filterwarnings("ignore")
SMALL = ["model=mlp", "callbacks.excerpts.every=1", "callbacks.excerpts.seconds=0.5", "group=sweep"]


@pytest.fixture(autouse=True, scope="module")
def offline() -> None:
    os.environ["WANDB_MODE"] = "offline"
    yield
    del os.environ["WANDB_MODE"]


@pytest.fixture(scope="module")
def run(wav_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs, and a third one of the resumed training."""
    place = tmp_path_factory.mktemp("dashboards")
    for more in ([], ["epochs=3", f"resume={place / 'run'}"]):
        settings = ["callbacks.layers.every=50", *SMALL, *(more or ["epochs=2"])]
        train(
            configuration(place / "run", place / "cache", wav_corpus, *settings, logger="default")
        )
    return place / "run"


@pytest.fixture(scope="module")
def runs(run: Path) -> list[OfflineRun]:
    return offline_runs(run)


def test_a_run_holds_all_that_its_dashboard_shows(runs: list[OfflineRun]) -> None:
    first = runs[0]
    media = ("mixture", "vocals/reference", "vocals/estimate", "vocals/spectrograms")
    curves = {
        *("train/loss", "validation/loss", "lr"),
        *("validation/sdr/vocals", "validation/gain/vocals"),
        *("time/step_seconds", "time/data_wait_seconds"),
        *("score/valid/vocals/SDR", "score/valid/accompaniment/SDR gain", "scores/valid"),
    }
    layers = {
        *("norm/weight/dense.third", "norm/gradient/dense.third"),
        *("norm/activation/dense.third/in", "norm/gradient/dense.third/out"),
    }
    excerpts = {f"excerpts/0/{name}" for name in media}
    assert curves | layers | excerpts <= first.logged
    assert first.config["model"]["separator"]["network"]["hidden"] == 16
    assert first.config["optimizer"]["lr"] > 0
    assert first.exit_code == 0


def test_a_run_is_found_by_its_tags_and_its_sweep(runs: list[OfflineRun], run: Path) -> None:
    trained_on = json.loads((run / "result.json").read_text())["trained_on"]
    for one in runs:
        assert {"model", "corpus", f"data-{trained_on['fingerprint'][:8]}"} == set(one.tags)
        assert one.group == "sweep"


def test_curves_are_over_the_trainings_steps_whatever_the_order(runs: list[OfflineRun]) -> None:
    for one in runs:
        assert one.steps_by["*"] == "trainer/global_step"
        assert all("trainer/global_step" in row for row in one.history if set(row) - {"_step"})
    epochs = [row["epoch"] for one in runs for row in one.history if "train/loss" in row]
    assert epochs == [0, 1, 2]


def test_sounds_pictures_and_scores_are_files_of_the_run(runs: list[OfflineRun], run: Path) -> None:
    folders = sorted(run.glob("wandb/offline-run-*/files"))
    for one, folder in zip(runs, folders, strict=True):
        for name in ("mixture", "vocals/reference", "vocals/estimate"):
            [*rows] = [
                row[f"excerpts/0/{name}"] for row in one.history if f"excerpts/0/{name}" in row
            ]
            assert rows[-1]["_type"] == "audio-file"
            sound = audio.read(folder / rows[-1]["path"])
            assert sound.samples.shape[1] / sound.sample_rate == pytest.approx(0.5, abs=0.15)
        pictures = [
            row["excerpts/0/vocals/spectrograms"]
            for row in one.history
            if "excerpts/0/vocals/spectrograms" in row
        ]
        assert image.imread(folder / pictures[-1]["path"]).std() > 0.05
        [table] = [row["scores/valid"] for row in one.history if "scores/valid" in row]
        rows = json.loads((folder / table["path"]).read_text())
        assert rows["columns"][:3] == ["system", "stem", "metric"]
        assert {row[0] for row in rows["data"]} == {"mixture", "model"}
        result = json.loads((run / "result.json").read_text())
        if one is runs[-1]:
            sdr = result["scores"]["model"]["vocals"]["SDR"]["median"]
            assert ["model", "vocals", "SDR", "median", sdr] in [row[:5] for row in rows["data"]]


def all_of(run: OfflineRun, name: str) -> list[Any]:
    return [row[name] for row in run.history if name in row]


def test_a_resumed_training_is_the_same_run_and_another_one_is_not(
    runs: list[OfflineRun], tmp_path: Path
) -> None:
    assert len(runs) == 2
    assert runs[0].identity == runs[1].identity != ""
    for resume in (None, str(tmp_path), None):
        logged(tmp_path, [0], resume)
        assert wandb.run is None
    assert len({run.identity for run in offline_runs(tmp_path)}) == 2


def logged(folder: Path, steps: Iterable[int], resume: str | None = None) -> None:
    logger = weights_and_biases(str(folder), "project", "name", [], resume=resume)
    for step in steps:
        logger.log_metrics({"loss": float(step), "epoch": step // 2}, step)
    finish([logger], failed=False)


def test_steps_that_are_taken_again_are_not_logged_again(tmp_path: Path) -> None:
    logged(tmp_path, range(4))
    logger = weights_and_biases(str(tmp_path), "project", "name", [], resume=str(tmp_path))
    for step in (2, 3, 4):
        logger.log_metrics({"loss": float(step), "epoch": step // 2}, step)
    # What the training before did not come to log of its last step is new.
    logger.log_metrics({"loss": 3.0, "late": 1.0, "epoch": 1}, 3)
    finish([logger], failed=False)
    first, resumed = sorted(offline_runs(tmp_path), key=lambda run: -len(run.history))
    losses = [loss for run in (first, resumed) for loss in all_of(run, "loss")]
    assert losses == [0.0, 1.0, 2.0, 3.0, 4.0]
    [late] = [row for row in resumed.history if "late" in row]
    assert (late["trainer/global_step"], late["epoch"]) == (3, 1)


def test_a_damaged_record_of_the_run_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "wandb_run.json").write_text("{")
    with pytest.raises(InputError, match=r"wandb_run.json: is damaged; remove it"):
        weights_and_biases(str(tmp_path), "project", "name", [], resume=str(tmp_path))


def test_a_pruned_trial_has_a_tag(
    wav_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stemsplit.train.was_pruned", lambda trainer: True)
    small = [*SMALL, "epochs=1", "callbacks.excerpts=null", "+trainer.limit_train_batches=1"]
    settings = [word for word in small if not word.startswith("callbacks.excerpts.")]
    train(
        configuration(tmp_path / "run", tmp_path / "cache", wav_corpus, *settings, logger="default")
    )
    [run] = offline_runs(tmp_path / "run")
    assert "pruned" in run.tags
    assert run.exit_code == 0


def test_the_dashboard_as_code_shows_what_a_training_logs(runs: list[OfflineRun]) -> None:
    view = specification(workspace("me", "project", ["vocals"], excerpts=1))
    assert (view["entity"], view["project"]) == ("me", "project")
    sections = view["spec"]["section"]["panelBankConfig"]["sections"]
    panels = {section["name"]: section["panels"] for section in sections if section["panels"]}
    assert list(panels) == ["Scores", "Losses", "Excerpts", "Layers", "Speed", "Sweep"]
    logged = runs[0].logged
    shown: set[str] = set()
    for config in (panel["config"] for of_section in panels.values() for panel in of_section):
        shown |= set(config.get("metrics", [])) | set(config.get("mediaKeys", []))
        if pattern := config.get("metricRegex"):
            assert any(re.match(pattern, name) for name in logged), pattern
    assert len(shown) > 12
    assert {name.replace("/test/", "/valid/") for name in shown} <= logged
    tables = [panel for panel in panels["Scores"] if "able" in json.dumps(panel)]
    assert "scores/valid" in json.dumps(tables)
    settings = [path for path in SWEPT if path in json.dumps(panels["Sweep"])]
    assert settings == list(SWEPT)
    assert "validation/sdr/vocals" in json.dumps(panels["Sweep"])
    for setting in settings:  # which a run's configuration holds
        place: Any = runs[0].config
        for part in setting.split("."):
            place = place[part]
        assert isinstance(place, float)


def test_a_missing_extra_is_one_line_of_the_command_and_ends_no_import(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "stemsplit.reporting.workspace_view")
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    importlib.reload(sys.modules["stemsplit.workspace"])  # as a notebook would import it
    with pytest.raises(SystemExit) as ended:
        main(["--entity", "me", "--dry-run"])
    assert ended.value.code == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: wandb_workspaces")
    assert line.endswith("is not there: pip install 'stemsplit[dashboard]'")


def test_the_specification_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--entity", "me", "--stems", "vocals", "drums", "--excerpts", "3", "--dry-run"])
    printed = json.loads(capsys.readouterr().out)
    assert "excerpts/2/drums/estimate" in json.dumps(printed)


def test_a_checkpoint_is_an_artifact_where_there_is_a_server(tmp_path: Path) -> None:
    file = tmp_path / "best.ckpt"
    file.write_bytes(b"weights")
    for offline in (False, True):
        run = Mock(spec=wandb.Run, offline=offline, id="1234abcd")
        WeightsAndBiases(run, Record(tmp_path / "record")).log_checkpoint(file)
        if offline:
            run.log_artifact.assert_not_called()
            continue
        [artifact] = run.log_artifact.call_args.args
        assert (artifact.name, artifact.type) == ("1234abcd-best", "model")
        assert list(artifact.manifest.entries) == ["best.ckpt"]


def test_what_a_server_does_not_take_any_more_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Mock(spec=wandb.Run, offline=False, id="1234abcd")
    run.log_artifact.side_effect = run.log.side_effect = wandb.errors.CommError("nobody there")
    logger = WeightsAndBiases(run, Record(tmp_path / "record"))
    file = tmp_path / "best.ckpt"
    file.write_bytes(b"weights")
    logger.log_checkpoint(file)
    logger.log_scores("valid", {}, 7)
    said = capsys.readouterr().err
    assert "could not upload best.ckpt" in said
    assert "could not upload the table of scores (valid)" in said
    assert said.count("nobody there") == 2


# Without WANDB_MODE the key is tried first, which takes W&B ten seconds to give up.
@pytest.mark.parametrize("mode", ["online", pytest.param("", marks=pytest.mark.slow)])
def test_a_server_that_does_not_answer_stops_nothing(mode: str, tmp_path: Path) -> None:
    """Nothing listens there; a process of its own, since W&B remembers servers and keys."""
    script = (
        "from stemsplit.training.loggers import weights_and_biases as wb\n"
        "wb.SECONDS_TO_START = 2\n"
        f"logger = wb.weights_and_biases({str(tmp_path)!r}, 'project', 'name', ['tag'])\n"
        "logger.log_metrics({'loss': 1.0}, 0)\n"
        "wb.finish([logger], failed=False)\n"
    )
    dead = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "local-" + 40 * "a"}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env=inherited | dead | {"HOME": str(tmp_path), "WANDB_MODE": mode},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert "continuing offline; upload the run later" in ended.stderr
    [run] = offline_runs(tmp_path)
    assert "loss" in run.logged


@pytest.mark.slow
def test_the_parts_of_a_resumed_run_are_sent_as_one(tmp_path: Path) -> None:
    logged(tmp_path, range(4))
    logged(tmp_path, range(2, 7), resume=str(tmp_path))
    first, second = offline_runs(tmp_path)
    assert first.identity == second.identity
    with StandIn() as server:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
        subprocess.run(
            [sys.executable, "-m", "wandb", "sync", *tmp_path.glob("wandb/offline-run-*")],
            env=inherited | server.environment | {"HOME": str(tmp_path)},
            check=True,
            capture_output=True,
            timeout=120,
        )
        [history] = server.histories.values()
    assert [row["loss"] for row in history] == [0, 1, 2, 3, 4, 5, 6]
    assert [row["trainer/global_step"] for row in history] == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_a_network_that_is_lost_on_the_way_stops_nothing(tmp_path: Path) -> None:
    place, run = tmp_path / "server.json", tmp_path / "run"
    run.mkdir()
    server = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("wandb_server.py"), place], stdin=subprocess.PIPE
    )
    try:
        while not place.is_file() or not place.read_text():
            time.sleep(0.1)
        script = (
            "import os, pathlib\n"
            "from stemsplit.training.loggers import weights_and_biases as wb\n"
            "wb.SECONDS_TO_FINISH = 3\n"
            f"run = pathlib.Path({str(run)!r})\n"
            "logger = wb.weights_and_biases(str(run), 'project', 'name', ['tag'])\n"
            "assert not logger.experiment.offline\n"
            "logger.log_metrics({'loss': 0.0}, 0)\n"
            f"os.kill({server.pid}, 9)\n"
            "logger.log_metrics({'loss': 1.0}, 1)\n"
            "logger.log_scores('valid', {}, 2)\n"
            "(run / 'best.ckpt').write_bytes(b'weights')\n"
            "logger.log_checkpoint(run / 'best.ckpt')\n"
            "wb.finish([logger], failed=False)\n"
            "print('the end')\n"
        )
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
        ended = subprocess.run(
            [sys.executable, "-c", script],
            env=inherited | json.loads(place.read_text()) | {"HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=200,
        )
    finally:
        server.kill()
        server.wait()
    assert ended.returncode == 0, ended.stderr
    assert "the end" in ended.stdout
    assert "could not upload best.ckpt" in ended.stderr
    [online] = run.glob("wandb/run-*/run-*.wandb")  # for `wandb sync`, all the same
    assert {"loss"} <= read(online).logged
