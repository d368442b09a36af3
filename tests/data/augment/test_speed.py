"""A change of speed moves tones and impulses as expected and removes aliasing."""

import numpy as np
import pytest
import torch
from torch import Tensor

from stemsplit.data.augment.speed import GRID, at_speed, nearest, samples_read

SPEEDS = nearest(np.array([0.6, 0.89, 0.97, 1.0, 1.03, 1.12, 1.5]))
TIME = 5000
EDGE = 100


def tone(cycles: float, length: int) -> Tensor:
    """A sine with this number of cycles per sample."""
    return torch.sin(2 * torch.pi * cycles * torch.arange(length, dtype=torch.float64)).float()


@pytest.mark.parametrize("cycles", [0.01, 0.1, 0.27])
@pytest.mark.parametrize("speed", SPEEDS)
def test_tone_is_interpolated_accurately(speed: float, cycles: float) -> None:
    samples = tone(cycles, samples_read(speed, TIME))[None, None]
    result = at_speed(samples, np.array([speed]), TIME)[0, 0]
    expected = tone(cycles * speed, TIME)
    assert (result - expected)[EDGE:-EDGE].abs().max() < 2.5e-3


@pytest.mark.parametrize("speed", [1.125, 1.5])
def test_frequencies_that_would_alias_are_removed(speed: float) -> None:
    samples = tone(0.49, samples_read(speed, TIME))[None, None]
    result = at_speed(samples, np.array([speed]), TIME)[0, 0, EDGE:-EDGE]
    assert result.std() < 0.01 * samples.std()


def test_speed_one_changes_nothing() -> None:
    samples = torch.randn(2, 2, TIME, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(at_speed(samples, np.ones(2), TIME), samples, atol=1e-5)


def test_impulse_has_expected_position_and_symmetry() -> None:
    """The position is divided by the speed, and the impulse response is symmetric."""
    for speed in (0.75, 1.25):
        samples = torch.zeros(1, 1, 3000)
        samples[..., 1500] = 1
        result = at_speed(samples, np.array([speed]), 2200)[0, 0]
        place = round(1500 / speed)
        assert result.argmax() == place
        assert torch.allclose(result[place - 50 : place], result[place + 1 : place + 51].flip(0))


def test_result_is_padded_with_silence() -> None:
    samples = torch.ones(1, 1, 1000)
    result = at_speed(samples, np.array([1.0]), 2000)
    assert result.shape == (1, 1, 2000)
    assert not result[..., 1100:].any()


def test_grid_is_finer_than_four_cents() -> None:
    speeds = 2 ** (np.linspace(-2, 2, 1000) / 12)
    assert (1200 * np.abs(np.log2(nearest(speeds) / speeds))).max() < 4
    assert np.array_equal(nearest(speeds) * GRID, np.rint(nearest(speeds) * GRID))


def test_examples_are_independent_and_input_is_not_modified() -> None:
    samples = torch.randn(len(SPEEDS), 2, 8000, generator=torch.Generator().manual_seed(0))
    before = samples.clone()
    batch = at_speed(samples, SPEEDS, TIME)
    assert torch.equal(samples, before)
    for number in range(len(SPEEDS)):
        single = at_speed(samples[number : number + 1], SPEEDS[number : number + 1], TIME)
        assert torch.allclose(batch[number], single[0], atol=1e-5)


def test_result_is_float32_under_autocast() -> None:
    samples = torch.randn(1, 2, TIME, generator=torch.Generator().manual_seed(0))
    plain = at_speed(samples, np.array([1.125]), TIME // 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(at_speed(samples, np.array([1.125]), TIME // 2), plain)
