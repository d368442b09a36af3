"""Data that a training logs to Weights & Biases, read from its offline files."""

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
from wandb_server import FakeServer

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
    """A run of two epochs, resumed for a third one."""
    place = tmp_path_factory.mktemp("dashboards")
    for length in (["epochs=2"], ["epochs=3", f"resume={place / 'run'}"]):
        settings = ["callbacks.layers.every=50", *SMALL, *length]
        train(
            configuration(place / "run", place / "cache", wav_corpus, *settings, logger="default")
        )
    return place / "run"


@pytest.fixture(scope="module")
def runs(run: Path) -> list[OfflineRun]:
    return offline_runs(run)


def test_run_logs_every_metric_of_the_dashboard(runs: list[OfflineRun]) -> None:
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


def test_run_has_tags_and_group(runs: list[OfflineRun], run: Path) -> None:
    trained_on = json.loads((run / "result.json").read_text())["trained_on"]
    for part in runs:
        assert {"model", "corpus", f"data-{trained_on['fingerprint'][:8]}"} == set(part.tags)
        assert part.group == "sweep"


def test_metrics_use_the_training_step_as_axis(runs: list[OfflineRun]) -> None:
    for part in runs:
        assert part.steps_by["*"] == "trainer/global_step"
        assert all("trainer/global_step" in row for row in part.history if set(row) - {"_step"})
    epochs = [row["epoch"] for part in runs for row in part.history if "train/loss" in row]
    assert epochs == [0, 1, 2]


def test_audio_images_and_tables_are_files_of_the_run(runs: list[OfflineRun], run: Path) -> None:
    folders = sorted(run.glob("wandb/offline-run-*/files"))
    for part, folder in zip(runs, folders, strict=True):
        for name in ("mixture", "vocals/reference", "vocals/estimate"):
            files = all_of(part, f"excerpts/0/{name}")
            assert files[-1]["_type"] == "audio-file"
            sound = audio.read(folder / files[-1]["path"])
            assert sound.samples.shape[1] / sound.sample_rate == pytest.approx(0.5, abs=0.15)
        pictures = all_of(part, "excerpts/0/vocals/spectrograms")
        assert image.imread(folder / pictures[-1]["path"]).std() > 0.05
        [table] = all_of(part, "scores/valid")
        rows = json.loads((folder / table["path"]).read_text())
        assert rows["columns"][:3] == ["system", "stem", "metric"]
        assert {row[0] for row in rows["data"]} == {"mixture", "model"}
        result = json.loads((run / "result.json").read_text())
        if part is runs[-1]:
            sdr = result["scores"]["model"]["vocals"]["SDR"]["median"]
            assert ["model", "vocals", "SDR", "median", sdr] in [row[:5] for row in rows["data"]]


def all_of(run: OfflineRun, name: str) -> list[Any]:
    """All logged values of a metric."""
    return [row[name] for row in run.history if name in row]


def test_resumed_training_continues_the_wandb_run(runs: list[OfflineRun], tmp_path: Path) -> None:
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


def test_repeated_steps_are_logged_once(tmp_path: Path) -> None:
    logged(tmp_path, range(4))
    logger = weights_and_biases(str(tmp_path), "project", "name", [], resume=str(tmp_path))
    for step in (2, 3, 4):
        logger.log_metrics({"loss": float(step), "epoch": step // 2}, step)
    # The interrupted training had not yet logged this metric of its last step.
    logger.log_metrics({"loss": 3.0, "late": 1.0, "epoch": 1}, 3)
    finish([logger], failed=False)
    first, resumed = sorted(offline_runs(tmp_path), key=lambda run: -len(run.history))
    losses = [loss for run in (first, resumed) for loss in all_of(run, "loss")]
    assert losses == [0.0, 1.0, 2.0, 3.0, 4.0]
    [late] = [row for row in resumed.history if "late" in row]
    assert (late["trainer/global_step"], late["epoch"]) == (3, 1)


def test_damaged_record_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "wandb_run.json").write_text("{")
    with pytest.raises(InputError, match=r"wandb_run.json: is damaged; remove it"):
        weights_and_biases(str(tmp_path), "project", "name", [], resume=str(tmp_path))


def test_pruned_trial_has_a_tag(
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


def test_dashboard_shows_only_logged_metrics(runs: list[OfflineRun]) -> None:
    view = specification(workspace("me", "project", ["vocals"], excerpts=1))
    assert (view["entity"], view["project"]) == ("me", "project")
    sections = view["spec"]["section"]["panelBankConfig"]["sections"]
    panels = {section["name"]: section["panels"] for section in sections if section["panels"]}
    assert list(panels) == ["Scores", "Losses", "Excerpts", "Layers", "Speed", "Sweep"]
    logged = runs[0].logged
    shown: set[str] = set()
    for config in (panel["config"] for section in panels.values() for panel in section):
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
    for setting in settings:  # the configuration of the run has them
        value: Any = runs[0].config
        for key in setting.split("."):
            value = value[key]
        assert isinstance(value, float)


def test_missing_package_is_one_line_error_of_the_command(
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
    assert "is not installed; run pip install --editable '.[dashboard]'" in line


def test_dry_run_prints_the_specification(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--entity", "me", "--stems", "vocals", "drums", "--excerpts", "3", "--dry-run"])
    printed = json.loads(capsys.readouterr().out)
    assert "excerpts/2/drums/estimate" in json.dumps(printed)


def test_online_run_logs_checkpoint_as_artifact(tmp_path: Path) -> None:
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


def test_failed_uploads_print_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Mock(spec=wandb.Run, offline=False, id="1234abcd")
    run.log_artifact.side_effect = run.log.side_effect = wandb.errors.CommError("nobody there")
    logger = WeightsAndBiases(run, Record(tmp_path / "record"))
    file = tmp_path / "best.ckpt"
    file.write_bytes(b"weights")
    logger.log_checkpoint(file)
    logger.log_scores("valid", {}, 7)
    warnings = capsys.readouterr().err
    assert "could not upload best.ckpt" in warnings
    assert "could not upload the table of scores (valid)" in warnings
    assert warnings.count("nobody there") == 2


# Without WANDB_MODE, W&B first checks the key, and stops only after ten seconds.
@pytest.mark.slow
@pytest.mark.parametrize("mode", ["online", ""])
def test_unreachable_server_does_not_stop_training(mode: str, tmp_path: Path) -> None:
    """The address has no server. The process is separate, because W&B caches servers and keys."""
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
def test_offline_parts_of_resumed_run_sync_as_one_run(tmp_path: Path) -> None:
    logged(tmp_path, range(4))
    logged(tmp_path, range(2, 7), resume=str(tmp_path))
    first, second = offline_runs(tmp_path)
    assert first.identity == second.identity
    with FakeServer() as server:
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
def test_lost_connection_does_not_stop_training(tmp_path: Path) -> None:
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
    [online] = run.glob("wandb/run-*/run-*.wandb")  # `wandb sync` can still upload it
    assert {"loss"} <= read(online).logged
