"""Loader workers never need more shared memory than there is."""

from collections import namedtuple
from pathlib import Path

import pytest

from stemsplit.data.store import shared_memory
from stemsplit.data.store.shared_memory import workers_that_fit

Usage = namedtuple("Usage", "total used free")
BATCH = 68_000_000  # of the default configuration


def with_free(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    usage = Usage(free, 0, free)
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", Path("/"))
    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda path: usage)


@pytest.mark.parametrize(
    ("free", "processes", "fitting"),
    [
        (64e6, 1, 0),  # a container as it comes: not one batch
        (400e6, 1, 0),  # not the three batches of one worker, for either loader
        (2 * 3 * BATCH, 1, 1),
        (1e9, 1, 3),
        (1e9, 2, 1),
        (2 * 9 * BATCH, 1, 4),
        (24e9, 1, 4),
    ],
)
def test_as_many_workers_as_there_is_room_for(
    free: float,
    processes: int,
    fitting: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with_free(monkeypatch, free)
    assert workers_that_fit(4, BATCH, processes, "training") == fitting
    said = capsys.readouterr().err
    assert bool(said) == (fitting < 4)
    if said:
        needed = 2 * 9 * BATCH * processes
        assert len(said.splitlines()) == 1
        assert f"has {free / 1e6:.0f} MB free" in said or f"has {free / 1e9:.1f} GB free" in said
        assert f"4 would need {needed / 1e9:.1f} GB" in said


def test_without_workers_or_shared_memory_nothing_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_free(monkeypatch, 0)
    assert workers_that_fit(0, BATCH, 1, "training") == 0
    monkeypatch.setattr(shared_memory, "SHARED_MEMORY", Path("/nowhere/shm"))  # macOS
    assert workers_that_fit(4, BATCH, 1, "training") == 4
