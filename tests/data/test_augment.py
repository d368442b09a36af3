"""Augmentation: gains in their range, channels swapped, and all of it fixed by seed and keys."""

import pytest
import torch
from torch import Tensor

from stemsplit.data.augment import Augment

KEYS = [(epoch, position) for epoch in range(10) for position in range(20)]


@pytest.fixture
def stems() -> Tensor:
    return torch.randn(len(KEYS), 4, 2, 50, generator=torch.Generator().manual_seed(0))


def gains(before: Tensor, after: Tensor) -> Tensor:
    """The factor of each stem `(batch, stem)`; fails where it is not the same for every sample."""
    factors = after / before
    assert torch.allclose(factors, factors[:, :, :1, :1].expand_as(factors), rtol=1e-4)
    return factors[:, :, 0, 0]


def test_gains_fill_their_range(stems: Tensor) -> None:
    found = gains(stems, Augment(0, gain=(0.25, 1.25), swap_channels=False)(stems, KEYS))
    assert 0.25 <= found.min() < 0.27
    assert 1.23 < found.max() <= 1.25
    assert abs(found.mean() - 0.75) < 0.05
    assert len(found.unique()) > 0.99 * found.numel(), "stems share their gains"


def test_swapping_swaps_channels_and_nothing_else(stems: Tensor) -> None:
    augmented = Augment(0, gain=(1.0, 1.0), swap_channels=True)(stems, KEYS)
    kept = (augmented == stems).flatten(2).all(-1)
    swapped = (augmented == stems.flip(2)).flatten(2).all(-1)
    assert (kept ^ swapped).all()
    assert (swapped.float().mean(0) - 0.5).abs().max() < 0.15, "each stem, half of the time"
    assert 0.35 < (swapped[:, 0] == swapped[:, 1]).float().mean() < 0.65, "each by itself"


def test_the_keys_alone_decide(stems: Tensor) -> None:
    augment = Augment(0)
    augmented = augment(stems, KEYS)
    torch.rand(3)  # the global generators have no part in it
    assert torch.equal(Augment(0)(stems, KEYS), augmented)
    order = torch.randperm(len(KEYS), generator=torch.Generator().manual_seed(0)).tolist()
    shuffled = augment(stems[order], [KEYS[index] for index in order])
    assert torch.equal(shuffled, augmented[order])
    assert torch.equal(augment(stems[7:8], KEYS[7:8]), augmented[7:8])


def test_another_seed_and_another_key_draw_anew(stems: Tensor) -> None:
    same = stems[:1].expand(len(KEYS), -1, -1, -1)
    found = gains(same, Augment(0, swap_channels=False)(same, KEYS))
    assert len(found[:, 0].unique()) == len(KEYS)
    other = gains(same, Augment(1, swap_channels=False)(same, KEYS))
    assert (found != other).all()


def test_an_augmentation_that_does_nothing(stems: Tensor) -> None:
    assert torch.equal(Augment(0, gain=(1.0, 1.0), swap_channels=False)(stems, KEYS), stems)


@pytest.mark.parametrize("swap_channels", [False, True])
def test_the_input_stays_as_it_is(stems: Tensor, swap_channels: bool) -> None:
    before = stems.clone()
    Augment(0, swap_channels=swap_channels)(stems, KEYS)
    assert torch.equal(stems, before)


def test_mono(stems: Tensor) -> None:
    mono = stems[:, :, :1]
    augmented = Augment(0)(mono, KEYS)
    assert augmented.shape == mono.shape
    assert torch.equal(augmented, Augment(0, swap_channels=False)(mono, KEYS))


def test_silence_stays_silence_and_the_type_stays(stems: Tensor) -> None:
    assert not Augment(0)(torch.zeros_like(stems), KEYS).any()
    assert Augment(0)(stems, KEYS).dtype == stems.dtype
    assert Augment(0)(stems.double(), KEYS).dtype == torch.float64
