"""Cross-fading the chunks of a signal restores the signal."""

import itertools

import pytest
import torch

from stemsplit.errors import InputError
from stemsplit.separation.overlap_add import crossfades, overlap_add


def test_crossfades_sum_to_one_at_every_sample() -> None:
    overlaps = [(chunk, overlap) for chunk in (2, 5, 8, 13) for overlap in range(1, chunk // 2 + 1)]
    for (chunk, overlap), time in itertools.product(overlaps, range(1, 60)):
        total = torch.zeros(time)
        for start, weight in crossfades(time, chunk, overlap):
            assert 0 < len(weight) <= chunk
            total[start : start + len(weight)] += weight
        torch.testing.assert_close(
            total, torch.ones(time), msg=f"time {time}, chunk {chunk}, overlap {overlap}"
        )


@pytest.mark.parametrize("time", [1, 7, 8, 9, 30])
def test_identity_restores_the_signal(time: int) -> None:
    signal = torch.randn(2, 1, time, generator=torch.Generator().manual_seed(time))
    stems = torch.zeros(1, *signal.shape)
    fractions: list[float] = []
    overlap_add(lambda chunk: chunk[:, None], signal, stems, 8, 3, 10, fractions.append)
    torch.testing.assert_close(stems[0], signal)
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_chunk_with_nan_is_refused_with_its_position() -> None:
    signal = torch.ones(1, 1, 30)
    signal[..., 12] = torch.nan
    with pytest.raises(InputError, match=r"chunk at 0\.50 s"):
        overlap_add(lambda chunk: chunk[:, None], signal, torch.zeros(1, 1, 1, 30), 8, 3, 10)
