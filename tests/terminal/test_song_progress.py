"""The progress of several songs, on a terminal and elsewhere."""

import io
import sys

import pytest

from stemsplit.terminal import progress
from stemsplit.terminal.progress import SongProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bars_of_the_song_and_of_all_songs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    bars = SongProgress(2)
    with bars.shown(), bars.song("a [live]") as show:
        show(0.25)
        bars.bars.refresh()
    assert "a [live]" in terminal.getvalue()
    assert "25%" in terminal.getvalue()
    assert "all songs" in terminal.getvalue()


def test_lines_for_a_file_are_not_printed_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setattr(sys, "stdout", file := io.StringIO())
    with SongProgress(1).shown():
        print("path")
    assert file.getvalue() == "path\n"
    assert "path" not in terminal.getvalue()


def test_plain_lines_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bars = SongProgress(1)
    with bars.shown(), bars.song("a") as show:
        show(0.1)
        monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
        show(0.5)
    assert capsys.readouterr() == ("", "a: 50 %\n")
