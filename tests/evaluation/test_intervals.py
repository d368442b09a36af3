"""Medians and how sure they are."""

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
def test_the_median_lies_in_its_interval(values: list[float], median: float) -> None:
    found = median_interval(values)
    assert found.value == median
    assert min(values) <= found.low <= median <= found.high <= max(values)


def test_nan_is_left_out() -> None:
    assert median_interval([NAN, 5.0, 1.0, NAN, 2.0]) == median_interval([5.0, 1.0, 2.0])


@pytest.mark.filterwarnings("error")
def test_minus_infinity_is_the_lowest_value() -> None:
    songs = [-np.inf, 1.0, 2.0, 3.0]
    assert median_interval(songs) == Interval(1.5, -np.inf, 3.0)
    assert median_interval([-np.inf, -np.inf, 2.0]).value == -np.inf
    assert median_interval([-np.inf, 2.0]) == Interval(-np.inf, -np.inf, 2.0)
    mean = weighted_interval(np.array(songs), np.ones(4))
    assert mean[:2] == (-np.inf, -np.inf)
    assert 1 < mean.high <= 3


def test_one_value_has_no_interval() -> None:
    assert median_interval([4.0, NAN]) == Interval(4.0, None, None)


@pytest.mark.parametrize("values", [[], [NAN, NAN]])
def test_nothing_has_neither(values: list[float]) -> None:
    assert median_interval(values) == Interval(None, None, None)


def test_equal_values_give_equal_intervals() -> None:
    values = np.random.default_rng(0).standard_normal(20).tolist()
    assert median_interval(values) == median_interval(values)


def test_it_follows_shift_and_scale() -> None:
    values = np.random.default_rng(0).standard_normal(21)
    plain, moved = median_interval(values.tolist()), median_interval((2 * values + 5).tolist())
    np.testing.assert_allclose(moved, 2 * np.array(plain) + 5)


def test_it_covers_the_true_median_about_as_often_as_it_says() -> None:
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
    assert 0.1 < same.low < 0.4  # five in one order are found under such a tau too
    assert same.high == 1
    turned = rank_correlation([1, 2, 3, 4, 5], [5, 4, 3, 2, 1])
    assert turned.tau == pytest.approx(-1)
    assert (turned.low, turned.high) == pytest.approx((-same.high, -same.low), abs=0.011)
    assert rank_correlation([1, 1, 1], [1, 2, 3]) == (None, None, None, None)


@pytest.mark.parametrize("count", [3, 5, 10])
@pytest.mark.parametrize("rho", [0.0, 0.7, 0.95])
def test_the_interval_of_a_rank_correlation_holds_the_true_one(count: int, rho: float) -> None:
    random = np.random.default_rng(1)
    tau = 2 / np.pi * np.arcsin(rho)
    held = 0
    for _ in range(200):
        one, noise = random.standard_normal((2, count))
        other = rho * one + np.sqrt(1 - rho**2) * noise
        found = rank_correlation(one.tolist(), other.tolist())
        held += found.low - 0.01 <= tau <= found.high + 0.01  # of its grid of taus
    assert held >= 0.91 * 200  # 95 %, less three deviations of 200 draws
