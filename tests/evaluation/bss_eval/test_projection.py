"""Correlations are exact to the last bit; solutions are refined."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from stemsplit.evaluation.bss_eval.projection import TAPS, TRANSFORM, correlations, residual, solve

LAGS = [0, 1, 100, TAPS - 1]


def exact_sums(references: np.ndarray, signals: np.ndarray, lag: int) -> list[list[float]]:
    """Correctly rounded correlations of signals of up to 26 bits, whose products are exact."""
    time = references.shape[1]
    return [
        [math.fsum(reference[: time - lag] * signal[lag:]) for signal in signals]
        for reference in references
    ]


@pytest.mark.parametrize("time", [700, TRANSFORM, 3 * TRANSFORM + 17])
@pytest.mark.parametrize("bits", [15, 23])
def test_correlations_are_correctly_rounded(time: int, bits: int) -> None:
    random = np.random.default_rng(bits)
    signals = random.integers(-(2**bits), 2**bits, (4, time)) / 2**bits
    signals[:2] = np.convolve(signals[0], np.ones(64) / 64, "same"), signals[1] / 4096
    signals = np.round(signals * 2**bits) / 2**bits
    song = torch.from_numpy(signals)[..., None]
    computed = correlations(song[:2], song[2:])
    assert computed.shape == (2, 4, TAPS)
    for lag in LAGS:
        expected = np.array(exact_sums(signals[:2], signals, lag))
        np.testing.assert_allclose(computed[..., lag], expected, rtol=2**-51, atol=1e-13)
    energies = [math.fsum(signal**2) for signal in signals[:2]]
    np.testing.assert_allclose(computed[..., 0].diagonal(), energies, rtol=2**-52)


def test_correlations_of_long_full_scale_signal_are_exact() -> None:
    """A square wave is the loudest signal, and concentrates its energy in few frequencies."""
    time = 3 * 60 * 44100
    square = np.where(np.arange(time) % 882 < 441, 1.0, -1.0)
    computed = correlations(*2 * [torch.from_numpy(square)[None, :, None]])
    for lag in LAGS:
        assert computed[0, 0, lag] == np.dot(square[: time - lag], square[lag:])


def test_thread_count_does_not_change_correlations() -> None:
    random = np.random.default_rng(0)
    song = torch.from_numpy(random.standard_normal((2, 20 * TRANSFORM, 2))).cumsum(1)
    threads = torch.get_num_threads()
    computed = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            computed.append(correlations(song[:1], song[1:]))
    finally:
        torch.set_num_threads(threads)
    largest = computed[0].abs().amax(-1, keepdim=True)
    assert ((computed[0] - computed[1]).abs() / largest).max() < 2**-52


def test_correlations_scale_with_signal_level() -> None:
    random = np.random.default_rng(0)
    song = torch.from_numpy(random.standard_normal((2, 2000, 1)))
    computed = correlations(song[:1], song[1:])
    for level in (2.0**-100, 2.0**60):
        np.testing.assert_array_equal(
            correlations(level * song[:1], level * song[1:]), level**2 * computed
        )
    assert not correlations(0 * song[:1], 0 * song[1:]).any()


def test_refinement_improves_solution() -> None:
    """The Hilbert matrix of size 10 has a condition number of 1e13."""
    size = 10
    fractions = [[Fraction(1, row + column + 1) for column in range(size)] for row in range(size)]
    scale = math.lcm(*range(1, 2 * size))  # makes all entries integers
    matrix = torch.tensor([[float(scale * entry) for entry in row] for row in fractions]).double()
    products = matrix.sum(dim=1, keepdim=True)  # so the solution is all ones
    assert all(float(scale * entry) == scale * entry for row in fractions for entry in row)
    refined, plain = (solve(matrix, products, refine) for refine in (True, False))
    assert (refined - 1).abs().max() < 1e-10 < 1e-6 < (plain - 1).abs().max()
    assert residual(matrix, products, torch.ones_like(products)).abs().max() == 0


def test_failed_refinement_keeps_solution() -> None:
    """The rows differ by one rounding unit, so the factor is too inaccurate for a correction."""
    matrix = torch.tensor([[1.0, 1.0], [1.0, 1.0 + 2**-52]], dtype=torch.float64)
    products = torch.tensor([[1.0], [0.3]], dtype=torch.float64)
    assert torch.equal(*(solve(matrix, products, refine) for refine in (True, False)))
