"""Decoded songs are memory-mapped within the limit on open files."""

import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stemsplit.data.store import stored
from stemsplit.data.store.stored import StoredTrack, open_files


@pytest.fixture
def few_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that may open 100 more files and has no maps yet."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(entry.name) for entry in Path("/dev/fd").iterdir())
    stored._maps.cache_clear()
    monkeypatch.setattr(stored, "open_files", lambda: 100)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 100, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    stored._maps.cache_clear()


def test_more_songs_than_open_files_can_be_read(
    few_files: None, tracks: list[StoredTrack], tmp_path: Path
) -> None:
    songs = []
    for number in range(300):
        folder = tmp_path / str(number)
        folder.mkdir()
        np.save(folder / "samples.npy", np.full((5, 2, 10), number, np.float32))
        songs.append(replace(tracks[0], folder=folder))
    for _ in range(2):
        for number, song in enumerate(songs):
            assert song.read("vocals")[0, 0] == number
    in_use = [song.samples for song in songs[:40]]  # arrays in use stay mapped
    assert [int(samples[0, 0, 0]) for samples in in_use] == list(range(40))


def test_soft_limit_of_open_files_is_raised() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = (
        4 * stored.MOST_MAPS if hard == resource.RLIM_INFINITY else min(hard, 4 * stored.MOST_MAPS)
    )
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, most), hard))
        assert open_files() == most
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, hard)
        assert open_files() == most
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
