"""The ratio of the targets to the rest: exactly as asked for, each side's own balance kept."""

import numpy as np
import pytest
import torch
from torch import Tensor

from stemsplit.data.augment.levels import with_snr

ASKED = np.array([-20.0, -3.0, 0.0, 6.0, 15.0])


@pytest.fixture
def stems() -> Tensor:
    random = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(len(ASKED), 4, 2, 1000, generator=random)


def snr(stems: Tensor, targets: list[int]) -> Tensor:
    rest = [stem for stem in range(4) if stem not in targets]
    energies = [stems[:, part].sum(1).square().sum((1, 2)) for part in (targets, rest)]
    return 10 * (energies[0] / energies[1]).log10()


@pytest.mark.parametrize("targets", [[3], [0, 2], [1, 2, 3]])
def test_the_ratio_is_as_asked(stems: Tensor, targets: list[int]) -> None:
    before = stems.clone()
    result = with_snr(stems, targets, ASKED)
    assert torch.equal(stems, before)
    assert result.dtype == torch.float32
    assert np.allclose(snr(result, targets), ASKED, atol=1e-3)


@pytest.mark.parametrize("targets", [[3], [0, 2], [1, 2, 3]])
def test_each_side_keeps_its_balance_and_one_is_turned_down(
    stems: Tensor, targets: list[int]
) -> None:
    factors = (with_snr(stems, targets, ASKED) / stems)[:, :, 0, 0]
    rest = [stem for stem in range(4) if stem not in targets]
    for part in (targets, rest):
        assert torch.allclose(factors[:, part], factors[:, part[:1]].expand(-1, len(part)))
    assert torch.allclose(factors.amax(1), torch.ones(len(ASKED)), atol=1e-6)


@pytest.mark.parametrize("silent", [[3], [0, 1, 2], [0, 1, 2, 3]])
@pytest.mark.parametrize("level", [0.0, 1e-4])
def test_silence_and_what_stands_beside_it_stay(
    stems: Tensor, silent: list[int], level: float
) -> None:
    stems[:, silent] *= level
    assert torch.equal(with_snr(stems, [3], ASKED), stems)
