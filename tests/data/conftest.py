"""Stored songs whose samples encode their song, stem and time."""

import numpy as np
import pytest

from stemsplit.data.store.stored import StoredTrack

STEMS = ("drums", "bass", "other", "vocals")
LENGTHS = (900, 1100, 1300, 1500)


@pytest.fixture(scope="session")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> list[StoredTrack]:
    """Songs whose samples encode their origin: `10 · (1 + song) + stem + time / 10000`."""
    tracks = []
    for song, length in enumerate(LENGTHS):
        stem = np.arange(4)[:, None, None]
        code = 10 * (1 + song) + stem + np.arange(length) / 10000
        stems = (code * np.array([1, -1])[:, None]).astype(np.float32)
        folder = tmp_path_factory.mktemp(f"song{song}")
        np.save(folder / "samples.npy", np.concatenate([stems.sum(0, keepdims=True), stems]))
        tracks.append(StoredTrack(f"Song {song}", "train", STEMS, folder, 8000, 1.0))
    return tracks
