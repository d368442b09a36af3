"""Samples beyond full scale."""

from pathlib import Path

import numpy as np
import pytest
from full_disk import no_file_larger_than

from stemsplit.separation.songs.full_scale import RESCALED_PEAK, limited, limits_text, rescaled

RANDOM = np.random.default_rng(0)
QUIET = [RANDOM.uniform(-1, 1, (2, 1, time)).astype(np.float32) for time in (10, 0, 3)]


def loud(peak: float) -> list[np.ndarray]:
    blocks = [block.copy() for block in QUIET]
    blocks[0][1, 0, 4] = -peak
    return blocks


def test_limited_samples_are_counted_for_each_stem() -> None:
    counts = [0, 0]
    blocks = list(limited(iter(loud(3)), counts))
    assert counts == [0, 1]
    expected = np.clip(np.concatenate(loud(3), axis=2), -1, 1)
    np.testing.assert_array_equal(np.concatenate(blocks, axis=2), expected)
    assert limits_text(["vocals", "drums"], counts).startswith(
        "clipped to full scale: 1 sample of drums ("
    )
    assert "1,234 samples of vocals, 1 sample of drums" in limits_text(
        ["vocals", "drums"], [1234, 1]
    )


def test_one_factor_rescales_all_stems(tmp_path: Path) -> None:
    notes: list[str] = []
    blocks = list(rescaled(iter(loud(2)), tmp_path, notes))
    [note] = notes
    assert note == "the stems reach 2: all of them are multiplied by 0.4995 (-6.03 dB)"
    for block, before in zip(blocks, loud(2), strict=True):
        np.testing.assert_allclose(block, before * RESCALED_PEAK / 2, rtol=1e-6)


def test_stems_within_full_scale_are_not_rescaled(tmp_path: Path) -> None:
    notes: list[str] = []
    for block, before in zip(rescaled(iter(QUIET), tmp_path, notes), QUIET, strict=True):
        np.testing.assert_array_equal(block, before)
    assert notes == []
    assert list(tmp_path.iterdir()) == []


def test_full_disk_names_the_folder_of_the_temporary_file(tmp_path: Path) -> None:
    blocks = [np.zeros((2, 2, 100_000), np.float32)]
    with no_file_larger_than(1000), pytest.raises(OSError, match="File too large") as caught:
        list(rescaled(iter(blocks), tmp_path, []))
    assert caught.value.filename == str(tmp_path)
