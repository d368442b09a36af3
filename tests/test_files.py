"""Files are written completely or not at all, even if writing fails or is interrupted."""

import errno
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from filelock import FileLock
from full_disk import no_file_larger_than

from stemsplit.errors import InputError
from stemsplit.files import (
    LOCK,
    file_name,
    held,
    make_writable_folder,
    replacing,
    replacing_together,
)


def write_by_python(path: Path) -> None:
    path.write_bytes(bytes(100_000))


def write_by_torch(path: Path) -> None:
    torch.save({"weights": torch.zeros(50_000)}, path)


def write_by_libsndfile(path: Path) -> None:
    soundfile.write(path, np.zeros(100_000, np.float32), 8000, format="WAV")


@pytest.mark.parametrize("write", [write_by_python, write_by_torch, write_by_libsndfile])
def test_full_disk_names_the_file_and_keeps_the_old_one(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with (
        pytest.raises(OSError, match="File too large") as refused,
        no_file_larger_than(10_000),
        replacing(path) as partial,
    ):
        write(partial)
    assert (refused.value.errno, refused.value.filename) == (errno.EFBIG, str(path))
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_error_of_the_writer_is_unchanged(tmp_path: Path) -> None:
    def fail(partial: Path) -> None:
        partial.write_text("half")
        raise RuntimeError("no such weights")

    with pytest.raises(RuntimeError, match="no such weights"), replacing(tmp_path / "file") as new:
        fail(new)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_interrupted_write_leaves_no_file(tmp_path: Path, end: type[BaseException]) -> None:
    def stop(partial: Path) -> None:
        partial.write_text("half")
        raise end

    with pytest.raises(end), replacing(tmp_path / "file") as new:
        stop(new)
    assert not list(tmp_path.iterdir())


def test_files_are_renamed_together(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a", "b")]
    with replacing_together() as partial:
        for path in paths:
            partial(path).write_text(path.name)
            assert not any(path.exists() for path in paths)
    assert [path.read_text() for path in paths] == ["a", "b"]
    assert sorted(tmp_path.iterdir()) == paths


def test_full_disk_at_second_file_writes_neither(tmp_path: Path) -> None:
    def write(partial: Callable[[Path], Path]) -> None:
        partial(tmp_path / "a").write_bytes(bytes(10))
        write_by_libsndfile(partial(tmp_path / "b"))

    with (
        pytest.raises(OSError, match="File too large") as refused,
        no_file_larger_than(10_000),
        replacing_together() as partial,
    ):
        write(partial)
    assert refused.value.filename == str(tmp_path / "b")
    assert not list(tmp_path.iterdir())


def test_folder_at_target_path_is_rejected_before_writing(
    tmp_path: Path,
) -> None:
    def write(partial: Callable[[Path], Path]) -> None:
        partial(tmp_path / "a").write_text("a")
        partial(tmp_path / "b")

    (tmp_path / "b").mkdir()
    with pytest.raises(IsADirectoryError) as refused, replacing_together() as partial:
        write(partial)
    assert refused.value.filename == str(tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127 + "x", "x" * 251 + ".wav"])
def test_file_name_of_255_bytes_is_written(tmp_path: Path, name: str) -> None:
    with replacing(tmp_path / name) as partial:
        partial.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_unusable_folder_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "folder", tmp_path / ("x" * 256)):
        with pytest.raises(InputError, match="is not writable") as refused:
            make_writable_folder(folder)
        assert str(folder) in str(refused.value)


def test_writable_folder_is_created_empty(tmp_path: Path) -> None:
    make_writable_folder(tmp_path / "new" / "folder")
    assert not list((tmp_path / "new" / "folder").iterdir())


@pytest.mark.parametrize("name", ["x" * 251, "x" * 300, "é" * 200, "日" * 100])
def test_long_file_names_are_shortened_and_distinct(name: str) -> None:
    shortened = file_name(name, ".json")
    assert 250 < len(shortened.encode()) <= 255
    assert shortened.endswith(".json")
    assert len({shortened, file_name(f"{name}a", ".json"), file_name(f"{name}b", ".json")}) == 3


@pytest.mark.parametrize("name", ["x" * 250, "é" * 125, "caf\udce9"])
def test_short_file_names_are_unchanged(name: str) -> None:
    assert file_name(name, ".json") == f"{name}.json"


def test_pipe_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (
        pytest.raises(InputError, match="pipe: is a device or a pipe"),
        replacing(tmp_path / "pipe") as partial,
    ):
        partial.write_bytes(b"whole")
    assert (tmp_path / "pipe").is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_sigterm_during_a_write_leaves_no_file(tmp_path: Path) -> None:
    def write_half() -> None:
        with replacing(tmp_path / "stem.wav") as partial:
            partial.write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("the signal did not end the write")

    with pytest.raises(SystemExit) as ended:
        write_half()
    assert ended.value.code == 143
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_sigterm_before_rename_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda file: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as ended, replacing(tmp_path / "stem.wav") as partial:
        partial.write_bytes(b"whole")
    assert ended.value.code == 143
    assert list(tmp_path.iterdir()) == []


def test_folder_is_held_by_one_process_at_a_time(tmp_path: Path) -> None:
    with held(tmp_path, "trains this run"), held(tmp_path, "trains this run"):
        pass
    with FileLock(tmp_path / LOCK):  # like that of another process
        message = rf"{re.escape(str(tmp_path))}: another process trains this run; stop it"
        with pytest.raises(InputError, match=message), held(tmp_path, "trains this run"):
            pass
    with held(tmp_path, "trains this run"):
        pass
