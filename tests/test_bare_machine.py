"""Run all commands as a user without a name or home, in a read-only checkout, with ASCII output."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import soundfile
from commands import TINY, epochs

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).resolve().parent.parent
NAMELESS = 12345
SETPRIV = ["setpriv", f"--reuid={NAMELESS}", f"--regid={NAMELESS}", "--clear-groups"]
# Allow reading everywhere, because the interpreter may be in root's home. Writing is not allowed.
READ_ALL = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]


def user() -> list[str]:
    """The command prefix to become a user without a name; empty if that is not possible."""
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        return []
    for prefix in (SETPRIV, [*SETPRIV, *READ_ALL]):
        command = [*prefix, sys.executable, "-c", "import torch"]
        environment = os.environ | {"USER": "somebody"}
        if subprocess.run(command, env=environment, capture_output=True).returncode == 0:
            return prefix
    return []


class Machine(NamedTuple):
    """A read-only checkout, a corpus, and a writable folder."""

    prefix: list[str]
    checkout: Path
    place: Path
    corpus: list[str]

    def start(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self.prefix, sys.executable, "-m", f"stemsplit.{module}", *arguments],
            cwd=self.place,
            env={
                "PATH": os.environ["PATH"],
                "HOME": "/nonexistent",
                "LC_ALL": "C",
                "PYTHONPATH": str(self.checkout),
                "PYTHONUTF8": "0",  # otherwise Python uses UTF-8 in the locale C
                "PYTHONCOERCECLOCALE": "0",
                "TMPDIR": str(self.place / "tmp"),
                "PYTHONDONTWRITEBYTECODE": "1",  # root can write to read-only folders
                "OMP_NUM_THREADS": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, module: str, *arguments: str) -> str:
        process = self.start(module, *arguments)
        output, errors = (text.decode() for text in process.communicate(timeout=600))
        assert process.returncode == 0, output + errors
        assert "Traceback" not in errors
        assert output.isascii()
        return output


@pytest.fixture(scope="module")
def machine(stem_corpus: Path) -> Iterator[Machine]:
    root = Path(tempfile.mkdtemp(prefix="stemsplit-test-"))  # pytest's own folders are private
    root.chmod(0o755)
    checkout, place, songs = root / "checkout", root / "place", root / "songs"
    for folder in ("stemsplit", "conf"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(CHECKOUT / folder, checkout / folder, ignore=ignored)
    shutil.copytree(stem_corpus, songs)
    (place / "tmp").mkdir(parents=True)
    prefix = user()
    for path in (checkout, songs, *checkout.rglob("*"), *songs.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    if prefix:
        for path in (place, place / "tmp"):
            os.chown(path, NAMELESS, NAMELESS)
    names = sorted(path.name for path in (songs / "train").glob("*.stem.mp4"))
    validation = names[0].removesuffix(".stem.mp4")
    corpus = ["data=musdb18", f"data.root={songs}", f"data.validation_tracks=['{validation}']"]
    yield Machine(prefix, checkout, place, corpus)
    for path in (checkout, songs, *checkout.rglob("*"), *songs.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(root)


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while not path.is_file():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_train_kill_resume_evaluate_separate_report(machine: Machine) -> None:
    run = machine.place / "run"
    files = set(machine.checkout.rglob("*"))
    settings = ["model=mlp", *machine.corpus, *TINY, f"hydra.run.dir={run}"]
    training = machine.start("train", *settings, "epochs=1000")
    wait_for(run / "last.ckpt", training)
    training.kill()
    training.communicate()
    trained = len(epochs(run))
    assert 1 <= trained < 1000

    # Close the output after the first line, as `| head -1` does.
    resumed = machine.start("train", f"resume={run}", f"epochs={trained + 5}")
    assert resumed.stdout is not None
    assert resumed.stderr is not None
    resumed.stdout.readline()
    resumed.stdout.close()
    errors = resumed.stderr.read().decode()
    assert resumed.wait(timeout=600) == 0, errors
    assert "Traceback" not in errors
    assert len(epochs(run)) == trained + 5
    assert "vocals" in json.loads((run / "result.json").read_text())["targets"]

    machine.run("evaluate", f"checkpoint={run}", "workers=1")
    (result,) = (run / "evaluations").rglob("result.json")
    assert json.loads(result.read_text())["subset"] == "test"

    (song,) = (machine.checkout.parent / "songs" / "test").glob("*.stem.mp4")
    machine.run("separate", str(song), "--checkpoint", str(run), "--output", "stems")
    stems = list((machine.place / "stems").rglob("*.wav"))
    assert {stem.stem for stem in stems} == {"vocals", "accompaniment"}
    assert all(soundfile.info(stem).frames > 0 for stem in stems)

    machine.run("report", str(run))
    assert (run / "report.html").stat().st_size > 1000
    assert list((machine.place / "tmp").glob("stemsplit-*/stemsplit"))  # decoded songs
    assert set(machine.checkout.rglob("*")) == files


def test_interrupted_training_prints_resume_command(machine: Machine) -> None:
    run = machine.place / "interrupted"
    settings = ["model=mlp", *machine.corpus, *TINY, f"hydra.run.dir={run}"]
    training = machine.start("train", *settings, "epochs=1000")
    wait_for(run / "last.ckpt", training)
    training.send_signal(signal.SIGINT)
    _, errors = training.communicate(timeout=120)
    assert training.returncode == 130
    assert errors.decode().splitlines()[-1] == (
        f"interrupted; resume with: stemsplit train resume={run}"
    )
