"""Run the commands of the README, each in a separate process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from commands import TINY, Process, epochs, rows, run, start

from stemsplit.separation.checkpoint import build, save

needs_two_cores = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")


def test_train_kill_resume_evaluate_separate(
    place: Path, corpus: list[str], stem_corpus: Path
) -> None:
    folder = place / "run"
    settings = [*corpus, *(word for word in TINY if word != "callbacks.layers=null")]
    process = start(
        place, "train", *settings, "model=mel_blstm", "epochs=1000", f"hydra.run.dir={folder}"
    )
    deadline = time.monotonic() + 240
    while not (folder / "metrics.csv").is_file() or len(epochs(folder)) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = rows(folder)[0]
    done = len(epochs(folder))

    run(place, "train", f"resume={folder}", f"trainer.max_epochs={done + 2}")
    assert rows(folder)[0].items() >= before.items()  # resuming adds columns, but removes none
    assert epochs(folder) == [str(epoch) for epoch in range(done + 2)]
    assert (folder / "layers.png").stat().st_size > 5_000
    scores = json.loads((folder / "result.json").read_text())
    assert scores["steps"] == 2 * (done + 2)
    assert set(scores["scores"]) == {"mixture", "mel_blstm"}
    assert scores["test_scored"] == {}
    assert scores["trained_on"]["songs"] > 0

    table = run(place, "evaluate", f"checkpoint={folder}")
    assert "mixture" in table
    evaluated = json.loads((folder / "evaluations/musdb18-test/result.json").read_text())
    assert np.isfinite(evaluated["scores"]["mel_blstm"]["vocals"]["SDR"]["median"])
    assert json.loads((folder / "result.json").read_text())["test_scored"] == {"musdb18": 1}
    songs = list((stem_corpus / "test").glob("*.stem.mp4"))
    assert len(list((folder / "evaluations").rglob("museval/*/mel_blstm/test/*.json"))) == len(
        songs
    )

    name = songs[0].name.removesuffix(".stem.mp4")
    run(place, "separate", str(songs[0]), "--checkpoint", str(folder), "--output", str(place))
    vocals, rate = soundfile.read(place / name / "vocals.wav")
    rest, _ = soundfile.read(place / name / "accompaniment.wav")
    assert rate == 44100
    assert vocals.shape == rest.shape


@pytest.mark.slow
def test_killed_and_resumed_training_equals_uninterrupted_training(
    place: Path, corpus: list[str]
) -> None:
    """The training is killed in the first epoch and in a later one, with and without workers."""
    settings = [
        *(*corpus, *TINY[:-1], "model=open_unmix", "epochs=4", "chunks_per_track=12"),
        *("callbacks=ema", "callbacks.layers.every=1", "scheduler_patience=0", "optimizer.lr=0.05"),
        "checkpoint_minutes=0.001",
    ]
    uninterrupted, killed = place / "uninterrupted", place / "killed"
    run(place, "train", *settings, f"hydra.run.dir={uninterrupted}")

    def kill(process: Process, step: int) -> None:
        deadline = time.monotonic() + 240
        last = killed / "last.ckpt"
        while not last.is_file() or content(last)["global_step"] < step:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (killed / "result.json").exists()

    kill(start(place, "train", *settings, "data.workers=1", f"hydra.run.dir={killed}"), 1)
    kill(start(place, "train", f"resume={killed}", "data.workers=0"), 9)
    # A rejected setting leaves the run unchanged.
    refused = start(place, "train", f"resume={killed}", "epochs=1")
    assert "set epochs" in refused.communicate(timeout=240)[1]
    assert refused.returncode == 1
    run(place, "train", f"resume={killed}")
    assert rows(killed) == rows(uninterrupted)
    actual, expected = content(killed / "last.ckpt"), content(uninterrupted / "last.ckpt")
    assert actual["lr_schedulers"] == expected["lr_schedulers"]
    for checkpoint in (actual, expected):
        checkpoint["moments"] = checkpoint["optimizer_states"][0]["state"]
    for key in ("state_dict", "current_model_state", "moments"):
        torch.testing.assert_close(actual[key], expected[key], rtol=0, atol=0)


@pytest.mark.slow
def test_compiled_network_trains(place: Path, corpus: list[str]) -> None:
    """The process is separate, because the run-time type checks of tests cannot be compiled."""
    folder = place / "compiled"
    arguments = [*corpus, *TINY, "model=mlp", "epochs=1", "model.compile=true"]
    run(place, "train", *arguments, f"hydra.run.dir={folder}")
    assert (folder / "result.json").is_file()


def content(checkpoint: Path) -> dict[str, Any]:
    return torch.load(checkpoint, weights_only=True)


def test_offline_wandb_run_is_closed_after_an_error(place: Path, corpus: list[str]) -> None:
    folder = place / "fails"
    overrides = [name for name in TINY if name != "logger=csv"]
    failing = ["optimizer.lr=1e38", f"hydra.run.dir={folder}"]
    process = start(place, "train", *corpus, *overrides, *failing)
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "the weights were not changed; there is no checkpoint yet" in output + errors
    [recorded] = folder.glob("wandb/offline-run-*/run-*.wandb")
    assert recorded.stat().st_size > 0


def test_sweep_continues_after_failed_job(place: Path, corpus: list[str]) -> None:
    sweep = place / "sweep"
    process = start(
        place,
        "train",
        "-m",
        *corpus,
        *TINY,
        "epochs=1",
        "model.separator.network.hidden=15,16",
        f"hydra.sweep.dir={sweep}",
    )
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "hidden 15 must be even" in output + errors
    assert (sweep / "1" / "result.json").is_file()


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("train data=musdb18 logger=csv", "data.root"),
        ("train data=musdb18 data.root=/nowhere/at/all", "/nowhere/at/all"),
        ("train targets=[piano]", "piano"),
        ("evaluate", "checkpoint="),
        ("separate nowhere.mp3 --checkpoint nowhere", "nowhere.mp3"),
    ],
)
def test_invalid_input_is_one_line_error(place: Path, command: str, named: str) -> None:
    process = start(place, *command.split())
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    [line] = [line for line in errors.splitlines() if line.strip()]
    assert line.startswith("error: ")
    assert named in line
    assert "Traceback" not in output  # it may contain a progress bar
    assert not (place / "nowhere").exists()


@pytest.mark.slow
@needs_two_cores
def test_two_processes_equal_one_with_twice_the_batch_size(place: Path, corpus: list[str]) -> None:
    """Take one step of gradient descent, with a network without batch norm and dropout."""
    common = [
        *corpus,
        *[name for name in TINY if "batch_size" not in name],
        "model=mlp",
        "model.separator.network.batch_norm=false",
        "optimizer._target_=torch.optim.SGD",
        "~optimizer.fused",
        "optimizer.lr=1",
        "optimizer.weight_decay=0",
        "trainer.gradient_clip_val=null",
        "trainer.precision=32-true",
        "trainer.max_steps=1",
        "~callbacks.early_stopping",
        "callbacks.best=null",  # without a best checkpoint, nothing is scored
    ]
    single, double = place / "single", place / "double"
    run(place, "train", *common, "data.batch_size=4", f"hydra.run.dir={single}")
    processes = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    run(place, "train", *common, "data.batch_size=2", *processes, f"hydra.run.dir={double}")
    weights = [content(folder / "last.ckpt")["state_dict"] for folder in (single, double)]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=0, atol=1e-6)


@needs_two_cores
def test_two_processes_train_and_score(place: Path, corpus: list[str]) -> None:
    folder = place / "distributed"
    arguments = [*corpus, *TINY, "model=open_unmix", "epochs=2", "evaluate_test=true"]
    processes = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    run(place, "train", *arguments, *processes, f"hydra.run.dir={folder}")
    assert epochs(folder) == ["0", "1"]
    losses = [float(row["train/loss"]) for row in rows(folder) if row.get("train/loss")]
    assert np.isfinite(losses).all()
    result = json.loads((folder / "result.json").read_text())
    assert (result["steps"], result["test_scored"]) == (2, {"musdb18": 1})
    assert (folder / "test" / "result.json").is_file()
    first, second = content(folder / "last.ckpt")["random_states"]
    assert not torch.equal(first["torch"], second["torch"])  # their dropout masks differ


@pytest.mark.slow
def test_torchrun_processes_share_songs(place: Path, stem_corpus: Path, corpus: list[str]) -> None:
    checkpoint = place / "untrained.ckpt"
    front_end = {"window": 1024, "hop": 256}
    network = {"class": "stemsplit.models.mlp.Mlp", "hidden": 8}
    save(build(front_end, network, ["vocals"], "accompaniment", 2), checkpoint)

    def torchrun(module: str, *arguments: str) -> None:
        launcher = ["torch.distributed.run", "--nproc-per-node=2", "-m", f"stemsplit.{module}"]
        ended = subprocess.run(
            [sys.executable, "-m", *launcher, *arguments],
            cwd=place,
            env=os.environ | {"STEMSPLIT_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1"},
            text=True,
            capture_output=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr

    songs = sorted(map(str, stem_corpus.rglob("*.stem.mp4")))[:3]
    output = place / "shared"
    torchrun("separate", *songs, "--checkpoint", str(checkpoint), "--output", str(output))
    assert len(list(output.glob("*/vocals.wav"))) == len(songs)

    arguments = [f"checkpoint={checkpoint}", *corpus, "subset=valid"]
    run(place, "evaluate", *arguments, f"output={place / 'alone'}")
    torchrun("evaluate", *arguments, f"output={place / 'together'}")
    alone, together = (
        json.loads((place / name / "result.json").read_text()) for name in ("alone", "together")
    )
    assert alone["scores"] == together["scores"]


def test_missing_ffmpeg_is_one_line_error(place: Path, corpus: list[str]) -> None:
    environment = os.environ | {"PATH": str(place), "STEMSPLIT_CACHE": str(place / "cache")}
    ended = subprocess.run(
        [sys.executable, "-m", "stemsplit.train", *corpus, *TINY],
        cwd=place,
        env=environment,
        text=True,
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: musdb needs the program ffmpeg: run `make setup`")
    assert len(ended.stderr.splitlines()) == 1
