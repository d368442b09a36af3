"""Another speed: tones move by it to the right place, and what would alias is left out."""

import numpy as np
import pytest
import torch
from torch import Tensor

from stemsplit.data.augment.speed import GRID, at_speed, nearest, samples_read

SPEEDS = nearest(np.array([0.6, 0.89, 0.97, 1.0, 1.03, 1.12, 1.5]))
TIME = 5000
EDGE = 100


def tone(cycles: float, length: int) -> Tensor:
    """So many cycles a sample."""
    return torch.sin(2 * torch.pi * cycles * torch.arange(length, dtype=torch.float64)).float()


@pytest.mark.parametrize("cycles", [0.01, 0.1, 0.27])
@pytest.mark.parametrize("speed", SPEEDS)
def test_a_tone_is_read_exactly(speed: float, cycles: float) -> None:
    samples = tone(cycles, samples_read(speed, TIME))[None, None]
    result = at_speed(samples, np.array([speed]), TIME)[0, 0]
    expected = tone(cycles * speed, TIME)
    assert (result - expected)[EDGE:-EDGE].abs().max() < 2.5e-3


@pytest.mark.parametrize("speed", [1.125, 1.5])
def test_what_would_alias_is_left_out(speed: float) -> None:
    samples = tone(0.49, samples_read(speed, TIME))[None, None]
    result = at_speed(samples, np.array([speed]), TIME)[0, 0, EDGE:-EDGE]
    assert result.std() < 0.01 * samples.std()


def test_speed_one_changes_nothing() -> None:
    samples = torch.randn(2, 2, TIME, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(at_speed(samples, np.ones(2), TIME), samples, atol=1e-5)


def test_samples_stay_where_they_are() -> None:
    """An impulse comes at its place divided by the speed, the same around it on both sides."""
    for speed in (0.75, 1.25):
        samples = torch.zeros(1, 1, 3000)
        samples[..., 1500] = 1
        result = at_speed(samples, np.array([speed]), 2200)[0, 0]
        place = round(1500 / speed)
        assert result.argmax() == place
        assert torch.allclose(result[place - 50 : place], result[place + 1 : place + 51].flip(0))


def test_outside_is_silence() -> None:
    samples = torch.ones(1, 1, 1000)
    result = at_speed(samples, np.array([1.0]), 2000)
    assert result.shape == (1, 1, 2000)
    assert not result[..., 1100:].any()


def test_the_grid_is_finer_than_four_cents() -> None:
    wanted = 2 ** (np.linspace(-2, 2, 1000) / 12)
    assert (1200 * np.abs(np.log2(nearest(wanted) / wanted))).max() < 4
    assert np.array_equal(nearest(wanted) * GRID, np.rint(nearest(wanted) * GRID))


def test_each_has_its_own_and_the_input_stays() -> None:
    samples = torch.randn(len(SPEEDS), 2, 8000, generator=torch.Generator().manual_seed(0))
    before = samples.clone()
    together = at_speed(samples, SPEEDS, TIME)
    assert torch.equal(samples, before)
    for number in range(len(SPEEDS)):
        alone = at_speed(samples[number : number + 1], SPEEDS[number : number + 1], TIME)
        assert torch.allclose(together[number], alone[0], atol=1e-5)


def test_it_is_float32_under_autocast() -> None:
    samples = torch.randn(1, 2, TIME, generator=torch.Generator().manual_seed(0))
    plain = at_speed(samples, np.array([1.125]), TIME // 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(at_speed(samples, np.array([1.125]), TIME // 2), plain)
