"""The activity map: active blocks, and excerpts that are drawn from active parts of a song."""

import numpy as np
import pytest

from stemsplit.data.store.activity import (
    block_length,
    block_levels,
    draw_start,
    sounding,
    sounding_starts,
)

RATE = 8000
BLOCK = block_length(RATE)


def singing(seconds: float, sung: list[tuple[float, float]], level: float = 0.1) -> np.ndarray:
    """Noise in the intervals `sung` (start and end in seconds), silence elsewhere."""
    samples = np.zeros((2, round(seconds * RATE)), np.float32)
    for start, end in sung:
        piece = samples[:, round(start * RATE) : round(end * RATE)]
        piece[:] = level * np.random.default_rng(0).standard_normal(piece.shape)
    return samples


@pytest.mark.parametrize("time", [10 * BLOCK, 10 * BLOCK + 1, 11 * BLOCK - 1, 5])
def test_levels_are_mean_squares_of_blocks(time: int) -> None:
    samples = np.random.default_rng(0).standard_normal((2, time)).astype(np.float32)
    levels = block_levels(samples, time, RATE)
    pieces = [samples[:, start : start + BLOCK] for start in range(0, time, BLOCK)]
    assert len(levels) == len(pieces)
    expected = [np.mean(piece.astype(np.float64) ** 2) for piece in pieces]
    np.testing.assert_allclose(levels, expected, rtol=1e-5)


def test_short_stem_is_silent_after_its_end() -> None:
    levels = block_levels(singing(1.0, [(0, 1)]), 2 * RATE, RATE)
    assert sounding(levels).tolist() == [True] * 10 + [False] * 10
    assert not sounding(block_levels(np.zeros((2, 0), np.float32), RATE, RATE)).any()


@pytest.mark.parametrize(("level_db", "sounds"), [(-30, True), (-55, True), (-62, False)])
def test_near_silent_blocks_are_inactive(level_db: float, sounds: bool) -> None:
    samples = singing(1.0, [(0, 1)], 10 ** (level_db / 20))
    assert (sounding(block_levels(samples, RATE, RATE)) == sounds).all()


def test_bleed_is_inactive() -> None:
    samples = singing(2.0, [(0, 1)], 0.3) + singing(2.0, [(1, 2)], 0.3 * 10 ** (-45 / 20))
    active = sounding(block_levels(samples, 2 * RATE, RATE))
    assert active.tolist() == [True] * 10 + [False] * 10


def test_stem_is_active_in_half_of_drawn_excerpts() -> None:
    seconds, chunk = 20.0, 2 * RATE
    sung = [(5.0, 8.0), (15.0, 15.5)]  # the second interval is shorter than half an excerpt
    samples = singing(seconds, sung)
    time = samples.shape[1]
    starts = sounding_starts(block_levels(samples, time, RATE), time, chunk, RATE)
    random = np.random.default_rng(0)
    drawn = np.array([draw_start(starts, time, chunk, RATE, random) for _ in range(3000)]) / RATE
    # From 1 s before the singing to 1 s before its end, with a tolerance of one block.
    assert 4.0 - 0.1 <= drawn.min() < 4.1
    assert 6.9 < drawn.max() <= 7.0 + 0.1
    assert np.histogram(drawn, 6, (4, 7))[0].min() > 400, "starts are not uniform"


def test_last_excerpt_ends_with_song() -> None:
    time, chunk = 2 * RATE + 17, RATE
    samples = singing(time / RATE, [(0, time / RATE)])
    starts = sounding_starts(block_levels(samples, time, RATE), time, chunk, RATE)
    random = np.random.default_rng(0)
    drawn = {draw_start(starts, time, chunk, RATE, random) for _ in range(3000)}
    assert min(drawn) >= 0
    assert max(drawn) == time - chunk


def test_excerpt_longer_than_song_starts_at_zero() -> None:
    samples = singing(1.5, [(0, 1.5)])
    levels = block_levels(samples, samples.shape[1], RATE)
    starts = sounding_starts(levels, samples.shape[1], 2 * RATE, RATE)
    assert starts.tolist() == [0]
    random = np.random.default_rng(0)
    assert draw_start(starts, samples.shape[1], 2 * RATE, RATE, random) == 0
    assert not len(sounding_starts(levels, samples.shape[1], 4 * RATE, RATE))
