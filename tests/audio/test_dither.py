"""Dithered rounding: stems sum to the song, the error is white, and nothing depends on blocks."""

from itertools import pairwise

import numpy as np
import pytest

from stemsplit.audio.dither import Quantiser
from stemsplit.errors import InputError

RATE = 44100


def stems_of(count: int, time: int, level: float = 0.2) -> np.ndarray:
    random = np.random.default_rng(7)
    return (level * random.standard_normal((count, 2, time))).clip(-0.9, 0.9).astype(np.float32)


def quantised(stems: np.ndarray, bits: int, blocks: list[int]) -> np.ndarray:
    quantiser = Quantiser(bits, len(stems))
    edges = np.cumsum([0, *blocks])
    assert edges[-1] == stems.shape[2]
    pieces = [quantiser.quantise(stems[:, :, start:end]) for start, end in pairwise(edges)]
    return np.concatenate(pieces, axis=2)


@pytest.mark.parametrize("bits", [16, 24])
@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_stems_sum_to_the_song_within_one_step(count: int, bits: int) -> None:
    stems = stems_of(count, 20_000)
    steps = quantised(stems, bits, [20_000]) * 2.0 ** (bits - 1)
    np.testing.assert_array_equal(steps, np.rint(steps))
    difference = steps.sum(axis=0) - stems.sum(axis=0, dtype=np.float64) * 2.0 ** (bits - 1)
    assert 0.9 < np.abs(difference).max() <= 1 + 1e-6


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_stems_of_a_song_with_16_bits_sum_to_it_exactly(count: int) -> None:
    stems = stems_of(count, 20_000, 0.1)
    song = np.rint(stems.sum(axis=0, dtype=np.float64) * 2**15)
    # Multiples of 2**-24, so that the stems in float32 sum to the song exactly.
    stems = (np.rint(stems * 2.0**24) / 2**24).astype(np.float32)
    stems[-1] = song / 2**15 - stems[:-1].sum(axis=0, dtype=np.float64)
    steps = quantised(stems, 16, [20_000]) * 2.0**15
    np.testing.assert_array_equal(steps.sum(axis=0), song)


@pytest.mark.parametrize("bits", [16, 24])
def test_single_stem_is_within_one_and_a_half_steps(bits: int) -> None:
    stems = stems_of(1, 20_000)
    error = (quantised(stems, bits, [20_000]).astype(np.float64) - stems) * 2 ** (bits - 1)
    assert 1 < np.abs(error).max() <= 1.5


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("blocks", [[1] * 50 + [950], [333, 333, 334], [7, 0, 993]])
def test_blocks_do_not_matter(blocks: list[int], count: int) -> None:
    stems = stems_of(count, 1000)
    np.testing.assert_array_equal(quantised(stems, 16, blocks), quantised(stems, 16, [1000]))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_error_of_a_quiet_sine_is_white_and_independent_of_it(count: int) -> None:
    """Plain rounding would turn a sine of 1.3 steps into a square wave with strong harmonics."""
    time = np.arange(2**18)
    cycles = 2001  # per 2**18 samples: the harmonics fall on bins
    sine = 1.3 / 2**15 * np.sin(2 * np.pi * cycles * time / len(time))
    stems = np.stack([np.stack([sine, -sine]) / (stem + 1) for stem in range(count)])
    stems = stems.astype(np.float32)
    errors = (quantised(stems, 16, [len(time)]).astype(np.float64) - stems) * 2**15
    for error in errors.reshape(-1, len(time)):
        power = np.abs(np.fft.rfft(error)[1:]) ** 2 / len(time)
        assert 0.2 < power.mean() < 0.6  # steps squared; triangular dither alone gives 1/4
        bands = power[: 2**17].reshape(16, -1).mean(axis=1)
        np.testing.assert_allclose(bands, power.mean(), rtol=0.06)
        # In white noise, the power of a bin exceeds 14 times the mean with a chance of 1e-6.
        harmonics = power[cycles * np.arange(1, 20) - 1]
        assert harmonics.max() < 14 * power.mean()
        assert abs(error.mean()) < 0.01
    rounded = np.rint(stems[0, 0] * 2**15) - stems[0, 0] * 2**15
    distortion = np.abs(np.fft.rfft(rounded)[1:]) ** 2 / len(time)
    assert distortion[3 * cycles - 1] > 100 * distortion.mean()


def test_digital_silence_stays_silent() -> None:
    stems = stems_of(4, 3000)
    stems[:, :, 1000:2000] = 0
    stems[0, :, 2000:] = 0
    rounded = quantised(stems, 16, [3000])
    assert not rounded[:, :, 1000:2000].any()
    assert rounded[0, :, 2000:].any()  # the other stems go on, and the dither sums to zero


def test_samples_beyond_full_scale_are_limited_and_counted() -> None:
    stems = np.zeros((3, 2, 100), np.float32)
    stems[0, 0, :10], stems[1, 1, 50:53] = 1.5, -2.0
    quantiser = Quantiser(16, 3)
    rounded = quantiser.quantise(stems)
    assert quantiser.clipped == 13
    assert (rounded[0, 0, :10] == 1 - 2.0**-15).all()
    assert (rounded[1, 1, 50:53] == -1).all()
    assert np.abs(rounded[2]).max() < 3 / 2**15  # a clipped stem does not spill into the next


def test_other_bit_depths_are_refused() -> None:
    with pytest.raises(InputError, match="bit depth of 20"):
        Quantiser(20, 4)
