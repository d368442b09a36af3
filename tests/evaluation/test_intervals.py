"""Confidence intervals of medians, weighted means and rank correlations."""

import numpy as np
import pytest

from stemsplit.evaluation.intervals import (
    Interval,
    median_interval,
    rank_correlation,
    weighted_interval,
)

NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "median"), [([3.0, 1.0, 2.0], 2.0), ([1.0, 2.0, 4.0, 8.0], 3.0), ([-1.0] * 4, -1.0)]
)
def test_interval_contains_median(values: list[float], median: float) -> None:
    interval = median_interval(values)
    assert interval.value == median
    assert min(values) <= interval.low <= median <= interval.high <= max(values)


def test_median_interval_ignores_nan() -> None:
    assert median_interval([NAN, 5.0, 1.0, NAN, 2.0]) == median_interval([5.0, 1.0, 2.0])


@pytest.mark.filterwarnings("error")
def test_minus_infinity_counts_as_lowest_value() -> None:
    songs = [-np.inf, 1.0, 2.0, 3.0]
    assert median_interval(songs) == Interval(1.5, -np.inf, 3.0)
    assert median_interval([-np.inf, -np.inf, 2.0]).value == -np.inf
    assert median_interval([-np.inf, 2.0]) == Interval(-np.inf, -np.inf, 2.0)
    mean = weighted_interval(np.array(songs), np.ones(4))
    assert mean[:2] == (-np.inf, -np.inf)
    assert 1 < mean.high <= 3


def test_single_value_has_no_interval() -> None:
    assert median_interval([4.0, NAN]) == Interval(4.0, None, None)


@pytest.mark.parametrize("values", [[], [NAN, NAN]])
def test_no_values_have_no_median(values: list[float]) -> None:
    assert median_interval(values) == Interval(None, None, None)


def test_interval_is_deterministic() -> None:
    values = np.random.default_rng(0).standard_normal(20).tolist()
    assert median_interval(values) == median_interval(values)


def test_interval_is_equivariant_to_shift_and_scale() -> None:
    values = np.random.default_rng(0).standard_normal(21)
    plain, moved = median_interval(values.tolist()), median_interval((2 * values + 5).tolist())
    np.testing.assert_allclose(moved, 2 * np.array(plain) + 5)


def test_interval_covers_true_median_at_nominal_rate() -> None:
    generator = np.random.default_rng(0)
    intervals = [median_interval(generator.standard_normal(25).tolist()) for _ in range(120)]
    covered = np.mean([interval.low <= 0 <= interval.high for interval in intervals])
    assert 0.88 <= covered <= 1
    # The standard error of a median of 25 normal values is 0.25.
    width = np.mean([interval.high - interval.low for interval in intervals])
    assert 0.7 <= width <= 1.3


def test_rank_correlation() -> None:
    same = rank_correlation([1, 2, 3, 4, 5], [10, 20, 30, 40, 50])
    assert same.tau == pytest.approx(1)
    assert 0.1 < same.low < 0.4  # five equal ranks are still plausible with such a tau
    assert same.high == 1
    reverse = rank_correlation([1, 2, 3, 4, 5], [5, 4, 3, 2, 1])
    assert reverse.tau == pytest.approx(-1)
    assert (reverse.low, reverse.high) == pytest.approx((-same.high, -same.low), abs=0.011)
    assert rank_correlation([1, 1, 1], [1, 2, 3]) == (None, None, None, None)


@pytest.mark.parametrize("count", [3, 5, 10])
@pytest.mark.parametrize("rho", [0.0, 0.7, 0.95])
def test_rank_correlation_interval_covers_true_tau(count: int, rho: float) -> None:
    random = np.random.default_rng(1)
    tau = 2 / np.pi * np.arcsin(rho)
    covered = 0
    for _ in range(200):
        first, noise = random.standard_normal((2, count))
        second = rho * first + np.sqrt(1 - rho**2) * noise
        result = rank_correlation(first.tolist(), second.tolist())
        covered += result.low - 0.01 <= tau <= result.high + 0.01  # tolerance: the grid of taus
    assert covered >= 0.91 * 200  # 95 %, minus three standard deviations of 200 draws
