"""Correlations, exact to the last bit."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from stemsplit.evaluation.bss_eval.projection import TAPS, TRANSFORM, correlations, residual, solve

LAGS = [0, 1, 100, TAPS - 1]


def by_the_sum(references: np.ndarray, signals: np.ndarray, lag: int) -> list[list[float]]:
    """For signals of up to 26 bits, whose products are exact."""
    time = references.shape[1]
    return [
        [math.fsum(one[0 : time - lag] * other[lag:]) for other in signals] for one in references
    ]


@pytest.mark.parametrize("time", [700, TRANSFORM, 3 * TRANSFORM + 17])
@pytest.mark.parametrize("bits", [15, 23])
def test_correlations_are_the_nearest_double(time: int, bits: int) -> None:
    random = np.random.default_rng(bits)
    signals = random.integers(-(2**bits), 2**bits, (4, time)) / 2**bits
    signals[:2] = np.convolve(signals[0], np.ones(64) / 64, "same"), signals[1] / 4096
    signals = np.round(signals * 2**bits) / 2**bits
    song = torch.from_numpy(signals)[..., None]
    found = correlations(song[:2], song[2:])
    assert found.shape == (2, 4, TAPS)
    for lag in LAGS:
        expected = np.array(by_the_sum(signals[:2], signals, lag))
        np.testing.assert_allclose(found[..., lag], expected, rtol=2**-51, atol=1e-13)
    energies = [math.fsum(signal**2) for signal in signals[:2]]
    np.testing.assert_allclose(found[..., 0].diagonal(), energies, rtol=2**-52)


def test_full_scale_for_minutes() -> None:
    """The loudest there is, of which all falls into few frequencies."""
    time = 3 * 60 * 44100
    square = np.where(np.arange(time) % 882 < 441, 1.0, -1.0)
    found = correlations(*2 * [torch.from_numpy(square)[None, :, None]])
    for lag in LAGS:
        assert found[0, 0, lag] == np.dot(square[: time - lag], square[lag:])


def test_threads_do_not_show() -> None:
    random = np.random.default_rng(0)
    song = torch.from_numpy(random.standard_normal((2, 20 * TRANSFORM, 2))).cumsum(1)
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(correlations(song[:1], song[1:]))
    finally:
        torch.set_num_threads(threads)
    largest = found[0].abs().amax(-1, keepdim=True)
    assert ((found[0] - found[1]).abs() / largest).max() < 2**-52


def test_any_level_will_do() -> None:
    random = np.random.default_rng(0)
    song = torch.from_numpy(random.standard_normal((2, 2000, 1)))
    found = correlations(song[:1], song[1:])
    for level in (2.0**-100, 2.0**60):
        np.testing.assert_array_equal(
            correlations(level * song[:1], level * song[1:]), level**2 * found
        )
    assert not correlations(0 * song[:1], 0 * song[1:]).any()


def test_a_refined_solution_is_nearer_than_the_factor_alone_can_be() -> None:
    """Of Hilbert's matrix, whose condition is 1e13: in fractions, and by the factor alone."""
    size = 10
    fractions = [[Fraction(1, row + column + 1) for column in range(size)] for row in range(size)]
    scale = math.lcm(*range(1, 2 * size))  # so that double precision holds it as it is
    matrix = torch.tensor([[float(scale * one) for one in row] for row in fractions]).double()
    products = matrix.sum(dim=1, keepdim=True)  # of which the solution is ones
    assert all(float(scale * one) == scale * one for row in fractions for one in row)
    refined, plain = (solve(matrix, products, refine) for refine in (True, False))
    assert (refined - 1).abs().max() < 1e-10 < 1e-6 < (plain - 1).abs().max()
    assert residual(matrix, products, torch.ones_like(products)).abs().max() == 0


def test_what_is_beyond_refinement_is_left_as_it_was() -> None:
    """Two rows that differ by less than what their factor can tell."""
    matrix = torch.tensor([[1.0, 1.0], [1.0, 1.0 + 2**-52]], dtype=torch.float64)
    products = torch.tensor([[1.0], [0.3]], dtype=torch.float64)
    assert torch.equal(*(solve(matrix, products, refine) for refine in (True, False)))
