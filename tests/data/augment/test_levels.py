"""The ratio of the targets to the other stems has the requested value."""

import numpy as np
import pytest
import torch
from torch import Tensor

from stemsplit.data.augment.levels import with_snr

RATIOS_DB = np.array([-20.0, -3.0, 0.0, 6.0, 15.0])


@pytest.fixture
def stems() -> Tensor:
    random = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(len(RATIOS_DB), 4, 2, 1000, generator=random)


def snr(stems: Tensor, targets: list[int]) -> Tensor:
    rest = [stem for stem in range(4) if stem not in targets]
    energies = [stems[:, part].sum(1).square().sum((1, 2)) for part in (targets, rest)]
    return 10 * (energies[0] / energies[1]).log10()


@pytest.mark.parametrize("targets", [[3], [0, 2], [1, 2, 3]])
def test_ratio_has_the_requested_value(stems: Tensor, targets: list[int]) -> None:
    before = stems.clone()
    result = with_snr(stems, targets, RATIOS_DB)
    assert torch.equal(stems, before)
    assert result.dtype == torch.float32
    assert np.allclose(snr(result, targets), RATIOS_DB, atol=1e-3)


@pytest.mark.parametrize("targets", [[3], [0, 2], [1, 2, 3]])
def test_one_sum_is_attenuated_and_balance_is_kept(stems: Tensor, targets: list[int]) -> None:
    factors = (with_snr(stems, targets, RATIOS_DB) / stems)[:, :, 0, 0]
    rest = [stem for stem in range(4) if stem not in targets]
    for part in (targets, rest):
        assert torch.allclose(factors[:, part], factors[:, part[:1]].expand(-1, len(part)))
    assert torch.allclose(factors.amax(1), torch.ones(len(RATIOS_DB)), atol=1e-6)


@pytest.mark.parametrize("silent", [[3], [0, 1, 2], [0, 1, 2, 3]])
@pytest.mark.parametrize("level", [0.0, 1e-4])
def test_stems_beside_silence_are_unchanged(stems: Tensor, silent: list[int], level: float) -> None:
    stems[:, silent] *= level
    assert torch.equal(with_snr(stems, [3], RATIOS_DB), stems)
