"""``stemsplit COMMAND`` runs all commands."""

import subprocess
import sys
from pathlib import Path

import pytest

import stemsplit
from stemsplit.__main__ import COMMANDS, help_text


def stemsplit_command(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stemsplit", *words]
    return subprocess.run(command, capture_output=True, text=True)


def test_every_command_is_listed() -> None:
    package = Path(stemsplit.__file__).parent
    modules = {path.stem for path in package.glob("*.py") if "def main(" in path.read_text()}
    assert modules - {"__main__"} | {"data", "models"} == set(COMMANDS)
    assert all(f"  {command} " in help_text() for command in COMMANDS)


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_help_lists_the_commands(words: list[str]) -> None:
    ended = stemsplit_command(*words)
    assert (ended.returncode, ended.stdout) == (0, help_text())


def test_command_gets_its_arguments() -> None:
    ended = stemsplit_command("separate", "--help")
    assert ended.returncode == 0
    assert "--checkpoint RUN_OR_FILE" in ended.stdout
    ended = stemsplit_command("train", "-h")
    assert ended.returncode == 0
    assert "stemsplit train" in ended.stdout


def test_unknown_command_is_one_line_error() -> None:
    ended = stemsplit_command("seperate", "song.mp3")
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert line.startswith("error: seperate: unknown command; did you mean separate?")
