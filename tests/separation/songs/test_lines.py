"""Paths as they are printed for people."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from stemsplit.separation.songs.lines import quoted

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
