"""Progress of a training is shown in a terminal and in a pipe, with any encoding."""

import io
import os
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from stemsplit.training.callbacks import progress
from stemsplit.training.callbacks.progress import Progress, duration
from stemsplit.training.module import SeparationModule

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec", "ignore:.*does not have many workers")


@pytest.fixture
def output(
    module: SeparationModule, songs: Any, trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Function that trains two epochs of three steps with validation, and returns the output."""

    def printed(stream: Any = None, **options: Any) -> str:
        stream = stream or io.StringIO()
        data = songs(3)
        data.val_dataloader = data.train_dataloader
        monkeypatch.setattr(sys, "stdout", stream)
        defaults = {"enable_progress_bar": True, "max_epochs": 2, "num_sanity_val_steps": 1}
        trainer(Progress(), **(defaults | options)).fit(module, data)
        monkeypatch.undo()
        stream.flush()
        return stream.getvalue() if isinstance(stream, io.StringIO) else ""

    return printed


def test_each_epoch_is_one_line_without_a_terminal(output: Any) -> None:
    lines = output().splitlines()
    assert len(lines) == 2
    for number, line in enumerate(lines, 1):
        assert line.isascii()
        assert "\x1b" not in line
        figures = r"loss \d\S*, validation loss \d\S*, SDR -?\d+\.\d\d dB"
        assert re.fullmatch(rf"epoch {number}/2, took 0:0\d, {figures}", line)


def test_long_epochs_print_steps_without_a_terminal(
    output: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PRINTED_SECONDS", 0)
    lines = output().splitlines()
    steps = [line for line in lines if ", step " in line]
    assert [line.split(", ")[:2] for line in steps] == [
        [f"epoch {epoch}/2", f"step {step}/3"] for epoch in (1, 2) for step in (1, 2, 3)
    ]
    assert all(" left, loss " in line for line in steps)
    assert sum(", validation " in line and "/3, " in line for line in lines) == 6


@pytest.mark.parametrize(("columns", "lines"), [(80, 1), (40, 2)])
def test_status_fits_the_terminal(
    columns: int, lines: int, output: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "REDRAWN_SECONDS", 0)
    shown: list[Any] = []

    def terminal(**settings: Any) -> Console:
        return Console(**settings | {"force_terminal": True, "width": columns, "height": 24})

    class Recording(progress.Live):
        def update(self, renderable: Any, *, refresh: bool = False) -> None:
            shown.append(renderable)
            super().update(renderable, refresh=refresh)

    monkeypatch.setattr(progress, "Console", terminal)
    monkeypatch.setattr(progress, "Live", Recording)
    output()
    written = [str(text).splitlines() for text in shown]
    assert max(map(len, written)) == lines
    assert max(len(line) for status in written for line in status) <= columns
    separator = r"(?:  |\n)"  # lines break between metrics, not between a name and its value
    parts = ["epoch 2/2", "step 2/3", "0:00 left", r"loss \d\S*", r"SDR -?\d+\.\d\d dB"]
    assert [text for text in shown if re.fullmatch(separator.join(parts), str(text))]


def test_training_continues_if_encoding_lacks_characters(output: Any) -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="cp932")
    output(stream)
    assert written.getvalue().decode("cp932").count("\n") == 2


def test_training_continues_if_output_is_closed(output: Any) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stream:
        output(stream)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3661, "1:01:01")]
)
def test_duration_format(seconds: float, text: str) -> None:
    assert duration(seconds) == text
