"""The prepared arguments are those of the program while a command runs, and no longer."""

import sys

import pytest

from stemsplit.command_line.argv import argv


def test_arguments_are_replaced_and_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ["program", "tuned=best.yaml"]
    monkeypatch.setattr("sys.argv", before)
    seen = []

    def command() -> None:
        seen.extend(sys.argv)
        raise KeyError

    with pytest.raises(KeyError), argv(["seed=1"]):
        command()
    assert seen == ["program", "seed=1"]
    assert sys.argv is before
    assert before == ["program", "tuned=best.yaml"]
