"""Cutting a signal into chunks, resampling and cross-fading restore the signal."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
import soxr
import torch
from torch import Tensor

from stemsplit.errors import InputError
from stemsplit.separation.chunks.blocks import (
    advanced,
    all_finite,
    averaged,
    chunks_of,
    cross_faded,
    delayed,
    finite,
    paired,
    regrouped,
    resampled,
)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(shape[-1]))


def in_blocks(signal: Tensor, *sizes: int) -> Iterator[Tensor]:
    """The signal in blocks of these sizes, over and over."""
    start = 0
    for size in itertools.cycle(sizes):
        if start >= signal.shape[-1]:
            return
        yield signal[..., start : start + size]
        start += size


def joined(blocks: Iterator[Tensor]) -> Tensor:
    return torch.cat(list(blocks), dim=-1)


@pytest.mark.parametrize("sizes", [(1,), (7, 0, 30), (100,)])
def test_regrouped_blocks_have_one_size(sizes: tuple[int, ...]) -> None:
    signal = noise(2, 95)
    blocks = list(regrouped(in_blocks(signal, *sizes), 10))
    assert [block.shape[-1] for block in blocks] == [10] * 9 + [5]
    assert torch.equal(joined(iter(blocks)), signal)


def test_chunks_overlap_and_cover_the_signal() -> None:
    overlaps = [(chunk, overlap) for chunk in (2, 5, 8, 13) for overlap in range(1, chunk // 2 + 1)]
    for (chunk, overlap), time in itertools.product(overlaps, range(1, 60)):
        signal = noise(1, time)
        chunks = list(chunks_of(in_blocks(signal, 3, 11), chunk, overlap))
        assert [part.is_last for part in chunks] == [False] * (len(chunks) - 1) + [True]
        for part in chunks:
            assert 0 < part.samples.shape[-1] <= chunk
            expected = signal[..., part.start : part.start + part.samples.shape[-1]]
            assert torch.equal(part.samples, expected)
        separated = ((part.samples[None], part.is_last) for part in chunks)
        restored = joined(cross_faded(separated, overlap))
        torch.testing.assert_close(
            restored[0], signal, msg=f"time {time}, chunk {chunk}, overlap {overlap}"
        )


def test_constant_has_no_seam() -> None:
    chunks = chunks_of([torch.ones(1, 100)], 20, 10)
    faded = joined(cross_faded(((part.samples[None], part.is_last) for part in chunks), 10))
    torch.testing.assert_close(faded, torch.ones(1, 1, 100), rtol=0, atol=1e-7)


@pytest.mark.parametrize(("source", "target"), [(44100, 48000), (8000, 44100), (192000, 44100)])
@pytest.mark.parametrize("sizes", [(1000,), (17, 4001), (50000,)])
def test_resampled_blocks_equal_the_resampled_signal(
    source: int, target: int, sizes: tuple[int, ...]
) -> None:
    signal = noise(3, 2, 20000)
    blocks = joined(resampled(in_blocks(signal, *sizes), source, target))
    whole = soxr.resample(signal.reshape(6, -1).numpy().T, source, target).T
    difference = blocks.reshape(6, -1).numpy() - whole
    assert np.abs(difference).max() < 1e-5


def test_delay_is_undone() -> None:
    signal = noise(2, 50)
    late = delayed(in_blocks(signal, 7), 12)
    assert torch.equal(joined(advanced(late, 12)), signal)


def test_average_of_signals_in_other_blocks() -> None:
    first, second = noise(2, 50), noise(2, 50) + 1
    mean = joined(averaged([in_blocks(first, 7), in_blocks(second, 11)], 5))
    torch.testing.assert_close(mean, (first + second) / 2)


@pytest.mark.parametrize("time", [40, 50, 60])
def test_stems_get_the_length_of_the_mixture(time: int) -> None:
    stems, mixture = noise(3, 2, time), noise(2, 50)
    pairs = list(paired(in_blocks(stems, 9), in_blocks(mixture, 4), 3))
    assert torch.equal(joined(block for _, block in pairs), mixture)
    fitted = joined(part for part, _ in pairs)
    expected = torch.nn.functional.pad(stems[..., :50], (0, max(0, 50 - time)))
    assert torch.equal(fitted, expected)


def test_nan_is_refused_with_its_position() -> None:
    signal = torch.ones(2, 30)
    signal[1, 12] = torch.nan
    with pytest.raises(InputError, match=r"not finite .* at 1\.20 s"):
        joined(finite(in_blocks(signal, 5), 10))


def test_empty_song_is_refused() -> None:
    with pytest.raises(InputError, match="no samples"):
        list(finite([torch.zeros(2, 0)], 10))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_sample_that_is_not_finite_is_found(value: float) -> None:
    samples = torch.full((2, 1000), 3e38)  # their sum is infinite
    assert all_finite(samples)
    samples[1, 500] = value
    assert not all_finite(samples)
    samples[0] = 0
    assert not all_finite(samples)
