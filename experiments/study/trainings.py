"""Train the networks of a plan, and score them together. Each command has its own process."""

import json
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import NamedTuple

from omegaconf import DictConfig

from experiments.study.plan import Plan, Settings
from stemsplit import configuration
from stemsplit.command_line.corpora import make_corpus
from stemsplit.data.corpus import Corpus
from stemsplit.errors import InputError
from stemsplit.files import replacing

ENDED = "study.json"  # in the folder of a run: how its training ended
PLACES = ("data.root=", "data.cache=")  # settings that name folders of this machine
CHANGEABLE = (*PLACES, "logger=")  # settings that do not change a training


class Training(NamedTuple):
    """One training run of a plan."""

    name: str
    settings: Settings
    folder: Path

    @property
    def error(self) -> str | None:
        """The error with which the training ended, None without an error."""
        return json.loads((self.folder / ENDED).read_text())["error"]

    @property
    def settings_file(self) -> Path:
        """The file with the settings with which the training began."""
        return self.folder.with_name(f"{self.folder.name}.json")

    def check_settings(self) -> None:
        """Raise `InputError` if the training began with other settings; else store the settings."""
        settings = [word for word in self.settings if not word.startswith(CHANGEABLE)]
        if self.settings_file.is_file():
            before = json.loads(self.settings_file.read_text())
            if before != settings:
                differing = sorted({*before} ^ {*settings})
                raise InputError(
                    f"{self.folder}: was trained with other settings (different: "
                    f"{', '.join(differing) or 'the order'}); remove this folder and "
                    f"{self.settings_file.name}, or choose another folder with --runs"
                )
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.settings_file) as partial:
            partial.write_text(json.dumps(settings) + "\n")

    @property
    def state(self) -> str:
        if (self.folder / ENDED).is_file():
            return "done"
        return "begun" if (self.folder / "last.ckpt").is_file() else "open"


configuration.register_resolvers()


def config_of(run: Training) -> DictConfig:
    """The configuration with which a network was trained."""
    return configuration.saved(run.folder)


def corpus_of(run: Training) -> Corpus:
    return make_corpus(config_of(run).data)


def trainings(plan: Plan, folder: Path) -> list[Training]:
    return [Training(name, settings, folder / name) for name, settings in plan.trainings().items()]


def train(training: Training, may_fail: bool) -> None:
    """Train, or resume an interrupted run. A finished run is not repeated.

    Raises `InputError` if the run has begun with other settings, if it is interrupted or if it
    fails. If `may_fail`, the error of a run that has begun is stored as its result instead.
    """
    training.check_settings()
    if training.state == "done":
        return
    if training.state == "begun":
        moved = [word for word in training.settings if word.startswith(PLACES)]
        words = [f"resume={training.folder}", *moved]
    else:
        words = [*training.settings, f"hydra.run.dir={training.folder}"]
    code, last_line = command("train", *words)
    error = last_line if code == 1 else None
    if code not in (0, 1):
        raise InputError(
            f"{training.name}: the training was interrupted (exit code {code}); the same command "
            "continues it"
        )
    has_begun = (training.folder / "config.yaml").is_file()
    if error and not (may_fail and has_begun):
        raise InputError(f"{training.name}: the training failed: {error}")
    with replacing(training.folder / ENDED) as partial:
        partial.write_text(json.dumps({"error": error}) + "\n")


def score(runs: list[Training], settings: Settings, output: Path) -> dict:
    """Score the runs together on the test songs; return the content of ``result.json``."""
    named = ",".join(f"{run.name}:'{run.folder}'" for run in runs)
    succeed("evaluate", f"checkpoint={{{named}}}", f"output={output}", *settings)
    return json.loads((output / "result.json").read_text())


def report(runs: list[Training], evaluations: list[Path], path: Path) -> None:
    """Write one page with the curves and excerpts of the runs, and the scores of evaluations."""
    folders = [run.folder for run in runs] + evaluations
    succeed("report", *map(str, folders), "--output", str(path))


def succeed(module: str, *words: str) -> None:
    """Run a command; raise `InputError` if it fails."""
    code, last_line = command(module, *words)
    if code:
        raise InputError(f"{module} ended with exit code {code}: {last_line}")


def command(module: str, *words: str) -> tuple[int, str]:
    """Run a command of stemsplit; show its output; return its exit code and its last line."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"stemsplit.{module}", *words],
        stdout=sys.stderr,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    assert process.stderr is not None
    lines: deque[str] = deque([""], maxlen=1)
    with process:
        for line in process.stderr:
            sys.stderr.write(line)
            if line.strip():
                lines.append(line.strip())
    return process.returncode, lines[-1]
