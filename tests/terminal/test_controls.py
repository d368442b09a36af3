"""Names of files and messages are printed without control characters."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from stemsplit.terminal.controls import harmless, quoted

NAMES = [
    b"plain.wav", b"it's a [song].wav", b"new\nline.wav", b"back\\slash\x1b[31m'.wav",
    b"latin \xff.wav", "c1 \x85.wav".encode(), "Übung.wav".encode(), b"\xff1.wav",
]  # fmt: skip


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize("name", NAMES)
def test_bash_reads_a_quoted_path_as_the_same_path(name: bytes) -> None:
    text = quoted(Path(os.fsdecode(name)))
    assert text.isprintable()
    command = ["bash", "-c", f"printf %s {text}"]
    assert subprocess.run(command, capture_output=True, check=True).stdout == name


def test_control_characters_of_a_message_are_escaped() -> None:
    assert harmless("a\x1b[2J\nb\x85\udcff") == "a\\x1b[2J\\nb\\xc2\\x85\\xff"
    assert harmless("a\nb", keep="\n") == "a\nb"
