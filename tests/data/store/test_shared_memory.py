"""The number of loader workers is limited by the free shared memory."""

from collections import namedtuple
from pathlib import Path

import pytest

from stemsplit.data.store import shared_memory
from stemsplit.data.store.shared_memory import workers_that_fit

Usage = namedtuple("Usage", "total used free")
BATCH = 68_000_000  # bytes of a batch in the default configuration


def with_free(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    usage = Usage(free, 0, free)
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", Path("/"))
    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda path: usage)


@pytest.mark.parametrize(
    ("free", "processes", "fitting"),
    [
        (64e6, 1, 0),  # a container by default: less than one batch
        (400e6, 1, 0),  # less than the three batches of one worker for each loader
        (2 * 3 * BATCH, 1, 1),
        (1e9, 1, 3),
        (1e9, 2, 1),
        (2 * 9 * BATCH, 1, 4),
        (24e9, 1, 4),
    ],
)
def test_workers_are_limited_by_shared_memory(
    free: float,
    processes: int,
    fitting: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with_free(monkeypatch, free)
    assert workers_that_fit(4, BATCH, processes, "training") == fitting
    warning = capsys.readouterr().err
    assert bool(warning) == (fitting < 4)
    if warning:
        needed = 2 * 9 * BATCH * processes
        space = f"{free / 1e6:.1f} MB" if free < 1e9 else f"{free / 1e9:.1f} GB"
        assert len(warning.splitlines()) == 1
        assert f"has {space} free" in warning
        assert f"4 workers need {needed / 1e9:.1f} GB" in warning


def test_no_limit_without_workers_or_shared_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_free(monkeypatch, 0)
    assert workers_that_fit(0, BATCH, 1, "training") == 0
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", Path("/nowhere/shm"))  # macOS
    assert workers_that_fit(4, BATCH, 1, "training") == 4
