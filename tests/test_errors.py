"""Commands end with one-line errors, and printing never ends them."""

import errno
import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from stemsplit.errors import InputError, needs_extra, one_line_errors


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("song.mp3: no audio"), 1, "error: song.mp3: no audio"),
        (
            OSError(errno.ENOSPC, "No space left on device", "out/vocals.wav"),
            1,
            "error: out/vocals.wav: the disk is full (No space left on device): free some space",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            1,
            "error: the disk is full (No space left on device): free some space",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "out"), 1, "error: out: Permission"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (InputError("\x1b[31mEVIL\n\x00.mp3"), 1, "error: \\x1b[31mEVIL\\n\\x00.mp3\n"),
        (FileNotFoundError(errno.ENOENT, "gone", "\x1b[2J.mp3"), 1, "error: \\x1b[2J.mp3: gone\n"),
    ],
)
def test_user_errors_are_one_line(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, one_line_errors():
        raise error
    assert ended.value.code == code
    printed = capsys.readouterr().err
    assert printed.startswith(line)
    assert printed.count("\n") == 1


def test_command_can_set_its_interrupt_message(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), one_line_errors(lambda: "continue with resume=RUN"):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "continue with resume=RUN\n"


@pytest.mark.parametrize("answer", [AttributeError("numpy has no void"), SystemExit(1)])
def test_interrupt_replaced_by_library_error_is_one_line(
    answer: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    def library() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise answer from None

    with pytest.raises(SystemExit) as ended, one_line_errors():
        library()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_nested_entry_points_print_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, one_line_errors(), one_line_errors(lambda: "inner"):
        signal.raise_signal(signal.SIGINT)
    assert ended.value.code == 130
    assert capsys.readouterr().err == "inner\n"


@pytest.mark.parametrize("code", [None, 0, 1, 2])
def test_other_exit_codes_are_unchanged(
    code: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, one_line_errors():
        sys.exit(code)
    assert ended.value.code == code
    assert capsys.readouterr().err == ""


def test_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), one_line_errors():
        print(1 / 0)


@contextmanager
def stdout_as(stream: io.TextIOBase, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stream)
        yield


@pytest.mark.parametrize("buffering", [1, -1], ids=["by line", "by block"])
def test_program_continues_when_output_pipe_is_closed(
    buffering: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = 0
    with (
        os.fdopen(writer, "w", buffering) as stream,
        stdout_as(stream, monkeypatch),
        one_line_errors(),
    ):
        for _ in range(3):
            print("x" * 10_000)
            Console().print("printed by rich, which exits at a broken pipe")
            sys.stdout.flush()
            done += 1
    assert done == 3
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_to_full_disk_is_one_line_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        open("/dev/full", "w") as stream,
        stdout_as(stream, monkeypatch),
        pytest.raises(SystemExit) as ended,
        one_line_errors(),
    ):
        print("scores")
    assert ended.value.code == 1
    assert "the disk is full" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [("ascii", b"caf? ? ?\n"), ("cp932", b"caf? ? ?\n"), ("utf-8", "café ▏ ?\n".encode())],
)
def test_unencodable_characters_are_replaced(
    encoding: str, printed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = io.BytesIO()
    with (
        stdout_as(io.TextIOWrapper(content, encoding), monkeypatch),
        one_line_errors(),
    ):
        print("café ▏", os.fsdecode(b"\xe9"))  # a file name that is not UTF-8
        sys.stdout.flush()
        assert content.getvalue() == printed


def test_missing_stdout_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", None)
        with one_line_errors():
            print("nobody reads this")


def test_missing_extra_names_the_command_that_installs_it() -> None:
    says = r"optuna is not installed; run pip install --editable '\.\[sweeps\]'"
    with pytest.raises(InputError, match=says), needs_extra("sweeps"):
        raise ModuleNotFoundError(name="optuna")
