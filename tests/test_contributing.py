"""The examples in CONTRIBUTING.md work exactly as shown there."""

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

CHECKOUT = Path(__file__).resolve().parent.parent
TEXT = (CHECKOUT / "CONTRIBUTING.md").read_text()
# The name of a file on a separate line, followed by its content, its new end, or its changes.
FILE = re.compile(r"^`([\w/.]+)`(, at the end)?\n\n```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^python -m (.*)$", re.MULTILINE)
PARTS = dict(re.findall(r"^### (.*?)\n(.*?)(?=^##)", TEXT, re.DOTALL | re.MULTILINE))
VALIDATION = "Pell Orrin - Wire Garden"
TINY = [
    *("window=1024", "hop=256", "chunk_seconds=0.5", "model.separator.network.hidden=16"),
    *("epochs=1", "chunks_per_track=2", "data.batch_size=2"),  # 2 songs: 2 steps
    *("logger=csv", "callbacks.excerpts=null", "callbacks.layers=null"),
]
# Runs all commands in one process, because the imports take longer than the commands.
PROGRAM = """
import json, runpy, sys
codes = []
for module, *arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        codes.append(0)
    except SystemExit as end:
        codes.append(end.code or 0)
print(json.dumps(codes))
"""


def patched(text: str, changes: str) -> str:
    """Apply the lines of a diff, whose parts are separated by ``@@``."""
    for part in changes.split("@@\n"):
        lines = part.splitlines(keepends=True)
        old = "".join(line[1:] for line in lines if line[0] in " -")
        new = "".join(line[1:] for line in lines if line[0] in " +")
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, changed as CONTRIBUTING.md shows."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("stemsplit", "conf", "tests"):
        shutil.copytree(CHECKOUT / name, copy / name)
    shutil.copy(CHECKOUT / "pyproject.toml", copy)
    for name, at_the_end, language, content in FILE.findall(TEXT):
        path = copy / name
        if at_the_end:
            path.write_text(f"{path.read_text()}\n\n{content}")
        elif language == "diff":
            path.write_text(patched(path.read_text(), content))
        else:
            assert not path.exists()
            path.write_text(content)
    return copy


def process(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=checkout,
        env=os.environ | {"OMP_NUM_THREADS": "1", "STEMSPLIT_CACHE": str(checkout / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )


def commands(module: str, places: dict[str, str] | None = None) -> list[list[str]]:
    """The arguments of the commands of a module, with real paths and names."""
    found = [shlex.split(line) for line in COMMAND.findall(TEXT)]
    places = places or {}
    return [
        [re.sub("|".join(places) or "$^", lambda name: places[name[0]], word) for word in words]
        for words in found
        if words[0] == module
    ]


@pytest.fixture(scope="module")
def dsd100(
    songs: dict[str, dict[str, np.ndarray]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The songs of the other tests in the layout of DSD100."""
    root = tmp_path_factory.mktemp("DSD100")
    for song, stems in songs.items():
        place = song.replace("train/", "Dev/").replace("test/", "Test/")
        sources = {stem: (root / "Sources" / place, samples) for stem, samples in stems.items()}
        mixture = {"mixture": (root / "Mixtures" / place, sum(stems.values()))}
        for name, (folder, samples) in (sources | mixture).items():
            folder.mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / f"{name}.wav", samples.T, 44100, "PCM_16")
    return root


@pytest.fixture(scope="module")
def output(checkout: Path, dsd100: Path) -> str:
    """What all commands print; they use all the new parts at once."""
    song = next((dsd100 / "Mixtures/Test").glob("*/mixture.wav"))
    places = {"/path/to/DSD100": str(dsd100), "SONG": VALIDATION, "RUN": "run"}
    places["song.wav"] = str(song)
    words = [word for command in commands("stemsplit.train", places) for word in command[1:]]
    [evaluate] = commands("stemsplit.evaluate", places)
    [separate] = commands("stemsplit.separate", places)
    [doctor] = commands("stemsplit.doctor", places)
    runs = [
        ["stemsplit.train", *words, "model.separator.network.kernel=abc"],
        ["stemsplit.train", *words, *TINY, "hydra.run.dir=run"],
        [*evaluate, "evaluation.oracles=false"],
        [*separate, "--output", "without"],
        [*separate[:-1], "--output", "with"],
        doctor,
    ]
    ended = process(checkout, "-c", PROGRAM, json.dumps(runs))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert json.loads(ended.stdout.splitlines()[-1]) == [1, 0, 0, 0, 0, 0], ended.stderr
    return ended.stdout + ended.stderr


def test_number_of_files_of_each_part() -> None:
    counts = {part: len(FILE.findall(text)) for part, text in PARTS.items()}
    with_yaml = dict.fromkeys(["Model", "Corpus", "Loss", "Callback"], 2)
    assert counts == with_yaml | {"Metric": 1, "Flag of `separate`": 1}


def test_every_part_is_in_the_configuration(output: str, checkout: Path) -> None:
    config = yaml.safe_load((checkout / "run/config.yaml").read_text())
    network = config["model"]["separator"]["network"]
    assert network["class"] == "stemsplit.models.convolution.Convolution"
    assert network["kernel"] == 7
    assert config["loss"]["function"]["_target_"] == "stemsplit.training.losses.log_mse"
    assert config["corpus"] == "dsd100"
    assert config["data"]["validation_tracks"] == [VALIDATION]


def test_training_uses_loss_and_callback(output: str, checkout: Path) -> None:
    with (checkout / "run/metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["train/loss"]]
    assert len(rows) == 1
    assert float(rows[0]["train/loss"]) < 0  # in dB
    assert float(rows[0]["lr"]) == pytest.approx(1e-3 * 2 / 8)


def test_metric_is_in_the_results(output: str, checkout: Path) -> None:
    for folder in ("run", "run/evaluations/dsd100-test"):
        result = json.loads((checkout / folder / "result.json").read_text())
        scores = result["scores"]["convolution"]["vocals"]
        assert np.isfinite(scores["level error"]["median"])


def test_flag_changes_the_stems(output: str, checkout: Path) -> None:
    stems = [
        soundfile.read(checkout / folder / "mixture/vocals.wav")[0]
        for folder in ("with", "without")
    ]
    assert np.abs(stems[0] - stems[1]).max() > 1e-3


def test_new_setting_has_a_type(output: str) -> None:
    assert "error: model.separator.network.kernel=abc: choose an integer" in output


@pytest.mark.slow
@pytest.mark.parametrize("command", [" ".join(words) for words in commands("pytest")])
def test_the_tests_of_the_package_find_the_part(command: str, checkout: Path) -> None:
    ended = process(checkout, "-m", *command.split())
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert " passed" in ended.stdout
    assert "failed" not in ended.stdout
