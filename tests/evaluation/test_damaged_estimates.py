"""Truncated files of estimates."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemsplit.data.store.stored import StoredTrack
from stemsplit.errors import InputError
from stemsplit.evaluation.estimates import Folder


def test_truncated_estimate_raises(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (1000, 2)).astype(np.float32)
    path = tmp_path / "test" / "song" / "vocals.wav"
    path.parent.mkdir(parents=True)
    soundfile.write(path, sound, 8000, "FLOAT")
    track = StoredTrack("song", "test", ("vocals", "drums"), tmp_path, 8000, 1.0)
    references = {"vocals": sound.T}
    estimates = Folder(tmp_path).separate(track, references)
    np.testing.assert_array_equal(estimates["vocals"], sound.T)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"vocals\.wav: it is truncated"):
        Folder(tmp_path).separate(track, references)
