"""The equaliser has the requested gains at the centres, 0 dB outside its range and zero phase."""

import numpy as np
import pytest
import torch
from torch import Tensor

from stemsplit.data.augment.equaliser import band_centres, equalise

RATE = 44100
TIME = 90000  # a fast length of the Fourier transform, which is not padded further
HERTZ = [60, 12000]
BANDS = len(band_centres(HERTZ))


def decibels(*examples: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-6, 6, (*examples, BANDS))


def impulse() -> Tensor:
    samples = torch.zeros(1, 1, TIME)
    samples[..., TIME // 2] = 1
    return samples


def response(gains: np.ndarray, hertz: np.ndarray) -> np.ndarray:
    """The measured gain in dB at these frequencies for these gains of the bands."""
    result = equalise(impulse(), gains[None], HERTZ, RATE)
    spectrum = torch.fft.rfft(result[0, 0].double()).abs()
    return 20 * spectrum[np.rint(hertz * TIME / RATE)].log10().numpy()


def test_bands_are_about_an_octave_apart_and_within_the_range() -> None:
    for hertz in (HERTZ, [100, 200], [40, 16000], [500, 3000]):
        edges = np.log2([hertz[0], *band_centres(hertz), hertz[1]])
        assert np.allclose(np.diff(edges), np.diff(edges)[0])
        assert 0.5 <= np.diff(edges)[0] < 1.4


def test_gains_at_centres_have_the_requested_values() -> None:
    gains = decibels()
    assert np.allclose(response(gains, band_centres(HERTZ)), gains, atol=0.15)
    middles = np.sqrt(band_centres(HERTZ)[1:] * band_centres(HERTZ)[:-1])
    assert np.allclose(response(gains, middles), (gains[1:] + gains[:-1]) / 2, atol=0.15)


def test_gain_is_zero_outside_the_range() -> None:
    for hertz in ([20, 40, 59], [12001, 15000, 20000]):
        assert np.abs(response(decibels(), np.array(hertz))).max() < 0.15


def test_filter_has_zero_phase() -> None:
    result = equalise(impulse(), decibels()[None], HERTZ, RATE)[0, 0]
    middle = TIME // 2
    assert result.argmax() == middle
    around = RATE // 4
    before, after = result[middle - around : middle], result[middle + 1 : middle + around + 1]
    assert torch.allclose(before, after.flip(0), atol=1e-5), "the response is not symmetric"
    near = result[middle - RATE // 20 : middle + RATE // 20]
    assert near.square().sum() > 0.999 * result.square().sum()


def test_end_does_not_wrap_to_the_start() -> None:
    samples = torch.zeros(1, 1, TIME)
    samples[..., -1] = 1
    result = equalise(samples, decibels(1), HERTZ, RATE)
    assert result[..., : TIME // 2].abs().max() < 1e-4


def test_channels_share_a_filter_and_examples_do_not() -> None:
    samples = torch.randn(3, 2, TIME, generator=torch.Generator().manual_seed(0))
    samples[:, 1] = -0.5 * samples[:, 0]
    before = samples.clone()
    gains = decibels(3)
    result = equalise(samples, gains, HERTZ, RATE)
    assert torch.equal(samples, before)
    assert result.dtype == torch.float32
    assert result.isfinite().all()
    assert torch.allclose(result[:, 1], -0.5 * result[:, 0], atol=1e-5)
    for number in range(3):
        single = equalise(samples[number : number + 1], gains[number : number + 1], HERTZ, RATE)
        assert torch.allclose(result[number], single[0], atol=1e-5)


def test_zero_gain_and_silence_change_nothing() -> None:
    samples = torch.randn(1, 2, TIME, generator=torch.Generator().manual_seed(0))
    zero_gains = np.zeros((1, BANDS))
    assert torch.allclose(equalise(samples, zero_gains, HERTZ, RATE), samples, atol=1e-5)
    assert not equalise(torch.zeros_like(samples), decibels(1), HERTZ, RATE).any()


@pytest.mark.parametrize("rate", [8000, 16000])
def test_bands_above_half_the_rate_have_no_effect(rate: int) -> None:
    samples = torch.randn(1, 1, rate, generator=torch.Generator().manual_seed(0))
    gains = np.zeros((1, BANDS))
    gains[0, band_centres(HERTZ) > rate] = 6
    assert torch.allclose(equalise(samples, gains, HERTZ, rate), samples, atol=1e-5)
