"""The new architecture in CONTRIBUTING.md works exactly as shown there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
TEXT = (CHECKOUT / "CONTRIBUTING.md").read_text()
# The name of a file on a separate line, followed by its content.
FILES = re.findall(r"^`([\w/.]+)`\n\n```\w+\n(.*?)```", TEXT, re.DOTALL | re.MULTILINE)
COMMANDS = re.findall(r"^(python -m .*convolution.*)$", TEXT, re.MULTILINE)
TINY = ["window=1024", "hop=256", "chunk_seconds=0.5", "data.batch_size=2", "logger=csv"]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with the files that CONTRIBUTING.md shows."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("stemsplit", "conf", "tests"):
        shutil.copytree(CHECKOUT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "pyproject.toml", copy)
    for name, content in FILES:
        assert not (copy / name).exists()
        (copy / name).write_text(content)
    return copy


def test_new_architecture_needs_two_files() -> None:
    names = [name for name, _ in FILES]
    assert names == ["stemsplit/models/convolution.py", "conf/model/convolution.yaml"]
    assert len(COMMANDS) == 2


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, marks=pytest.mark.slow if "pytest" in command else ())
        for command in COMMANDS
    ],
)
def test_commands_succeed(command: str, checkout: Path, wav_corpus: Path) -> None:
    words = command.split()
    if "stemsplit.train" in words:  # use an existing corpus
        words += ["data=musdb18hq", f"data.root={wav_corpus}", *TINY]
        words += ["data.validation_tracks=[Pell Orrin - Wire Garden]"]
    ended = subprocess.run(
        [sys.executable, *words[1:]],
        cwd=checkout,
        env=os.environ | {"OMP_NUM_THREADS": "1", "STEMSPLIT_CACHE": str(checkout / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    if "pytest" in words:
        assert " passed" in ended.stdout
        assert "failed" not in ended.stdout
