"""Augmentation: what each keeps and changes, and all of it fixed by seed and keys."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stemsplit.data.augment import augment as module
from stemsplit.data.augment.augment import Augment
from stemsplit.errors import InputError

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


# Nothing at all, to turn one thing on beside it; and everything, at a rate where it is quick.
NOTHING = {"gain": (1.0, 1.0), "swap_channels": False}
CHANCES = ("polarity", "mono", "tempo", "pitch", "equaliser")
EVERYTHING = dict.fromkeys(CHANCES, 0.5) | {"snr_decibels": (-10, 10), "sample_rate": 8000}
CHUNK = 4000
FEW = KEYS[:12]


def excerpts(augment: Augment, keys: list[tuple[int, int]] = FEW) -> Tensor:
    shape = len(keys), 4, 2, augment.read_length(CHUNK)
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(0))


def augmented(augment: Augment, keys: list[tuple[int, int]] = FEW) -> Tensor:
    return augment(excerpts(augment, keys), keys, CHUNK, [3])


@pytest.fixture
def given_to(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Calls a function, and says what another one of the module was given by it."""

    def given_to(name: str, call: Callable[[], object]) -> list[Any]:
        given: list[Any] = []
        function = getattr(module, name)

        def noted(*arguments: Any) -> Any:
            given.append(arguments)
            return function(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(module, name, noted)
            call()
        return given

    return given_to


def test_the_published_recipe_draws_as_it_always_did(stems: Tensor) -> None:
    found = Augment(3)(stems, KEYS)
    for key, before, after in zip(KEYS, stems, found, strict=True):
        draw = np.random.default_rng([3, *key, 1])
        factors = torch.from_numpy(draw.uniform(0.25, 1.25, 4)).float()[:, None, None]
        swapped = torch.from_numpy(draw.random(4) < 0.5)[:, None, None]
        expected = before * factors
        assert torch.equal(after, torch.where(swapped, expected.flip(1), expected))


def test_polarity_turns_signs_and_nothing_else(stems: Tensor) -> None:
    found = Augment(0, polarity=0.3, **NOTHING)(stems, KEYS)
    signs = gains(stems, found)
    assert (signs.abs() == 1).all()
    assert ((signs < 0).float().mean(0) - 0.3).abs().max() < 0.12, "each stem, as often as asked"
    assert (signs != signs[:, :1]).any(), "each by itself"
    assert torch.equal(found.square(), stems.square())
    spectra = [torch.fft.rfft(samples).abs() for samples in (stems, found)]
    assert torch.equal(*spectra)


def test_mono_keeps_the_mean_and_makes_channels_equal(stems: Tensor) -> None:
    found = Augment(0, mono=0.3, **NOTHING)(stems, KEYS)
    kept = (found == stems).flatten(2).all(-1)
    equal = (found == found[:, :, :1]).flatten(2).all(-1)
    assert (kept ^ equal).all()
    assert (equal.float().mean(0) - 0.3).abs().max() < 0.12
    assert torch.allclose(found.mean(2), stems.mean(2), atol=1e-6)


def test_chunks_have_their_length_and_are_finite_float32() -> None:
    augment = Augment(0, **EVERYTHING)
    found = augmented(augment)
    assert augment.read_length(CHUNK) > 1.12 * CHUNK
    assert found.shape == (len(FEW), 4, 2, CHUNK)
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    ends = found[..., -100:].square().mean((2, 3)) / found.square().mean((2, 3))
    assert ends.min() > 0.1, "a chunk ends in silence"


def test_neither_order_nor_batch_has_a_part_in_it() -> None:
    augment = Augment(0, **EVERYTHING)
    given = excerpts(augment)
    before = given.clone()
    found = augment(given, FEW, CHUNK, [3])
    assert torch.equal(given, before)
    order = [7, 2, 11, 0]
    some = augment(given[order], [FEW[index] for index in order], CHUNK, [3])
    assert torch.allclose(some, found[order], atol=1e-5)
    for index in range(len(FEW)):
        alone = augment(given[index : index + 1], FEW[index : index + 1], CHUNK, [3])
        assert torch.allclose(alone[0], found[index], atol=1e-5)


@pytest.mark.parametrize("remix", [False, True])
def test_all_is_silent_where_nothing_sounds(remix: bool) -> None:
    augment = Augment(0, remix=remix, **EVERYTHING)
    assert not augment(torch.zeros_like(excerpts(augment)), FEW, CHUNK, [3]).any()


@pytest.mark.parametrize(
    ("name", "number", "alone"),
    [
        ("with_tempo_and_pitch", 1, {"tempo": 0.5}),
        ("with_tempo_and_pitch", 2, {"pitch": 0.5}),
        ("equalise", 1, {"equaliser": 0.5}),
        ("with_snr", 2, {"snr_decibels": (-10, 10)}),
    ],
)
def test_one_draws_the_same_beside_the_others_as_alone(
    name: str, number: int, alone: dict[str, Any], given_to: Callable[..., list[Any]]
) -> None:
    drawn = []
    for settings in (EVERYTHING, alone | NOTHING | {"sample_rate": 8000}):
        augment = Augment(0, **settings)
        ((*given,),) = given_to(name, lambda augment=augment: augmented(augment))
        drawn.append(given[number][given[number] != 1])  # what another one chose has a factor of 1
    assert np.array_equal(*drawn)
    assert len(np.unique(drawn[0])) >= len(FEW)


def test_signs_and_channels_are_drawn_beside_each_other_as_alone(stems: Tensor) -> None:
    both, signs, mono, neither = (
        Augment(0, **settings)(stems, KEYS)
        for settings in ({"polarity": 0.5, "mono": 0.5}, {"polarity": 0.5}, {"mono": 0.5}, {})
    )
    assert torch.allclose(both.mean(2), signs.mean(2), atol=1e-6)
    assert torch.allclose(both.abs(), mono.abs(), atol=1e-6)
    assert torch.equal(signs.abs(), neither.abs())


def test_draws_fill_their_ranges(given_to: Callable[..., list[Any]]) -> None:
    augment = Augment(
        0,
        tempo=1.0,
        tempo_percent=(-5, 10),
        pitch=1.0,
        pitch_semitones=(-1, 0.5),
        equaliser=1.0,
        equaliser_decibels=(-3, 6),
        sample_rate=8000,
    )
    keys = KEYS[:40]
    ((_, tempos, pitches, *_),) = given_to("with_tempo_and_pitch", lambda: augmented(augment, keys))
    ((_, decibels, *_),) = given_to("equalise", lambda: augmented(augment, keys))
    semitones = 12 * np.log2(pitches)
    assert abs(np.corrcoef(tempos, semitones)[0, 1]) < 0.3, "each has draws of its own"
    for found, low, high in ((tempos, 0.95, 1.1), (semitones, -1, 0.5), (decibels, -3, 6)):
        slack = 0.05 * (high - low)
        assert low - slack < found.min() < low + slack
        assert high - slack < found.max() < high + slack


@pytest.mark.parametrize("name", ["with_tempo_and_pitch", "equalise"])
def test_only_what_is_chosen_is_worked_on(name: str, given_to: Callable[..., list[Any]]) -> None:
    augment = Augment(0, tempo=0.1, equaliser=0.1, sample_rate=8000, **NOTHING)
    keys = KEYS[:60]
    ((some, *_),) = given_to(name, lambda: augmented(augment, keys))
    assert some.shape[0] < 0.2 * 4 * len(keys)
    given, found = excerpts(augment, keys), augmented(augment, keys)
    window = augment.window
    as_it_was = (found == given[..., window : window + CHUNK]).flatten(2).all(-1)
    assert 0.7 < as_it_was.float().mean() < 0.92


def test_stems_of_one_excerpt_stay_in_time_and_in_tune() -> None:
    settings = {"tempo": 0.7, "pitch": 0.7, "sample_rate": 8000, **NOTHING}
    for remix in (False, True):
        augment = Augment(0, remix=remix, **settings)
        one = excerpts(augment)[:, :1].expand(-1, 4, -1, -1)
        found = augment(one, FEW, CHUNK)
        apart = (found - found[:, :1]).abs().amax((1, 2, 3))
        assert (apart < 1e-5).all() if not remix else (apart > 0.01).sum() > 8


def test_the_targets_are_as_loud_beside_the_rest_as_drawn() -> None:
    found = augmented(Augment(0, snr_decibels=(6, 6), sample_rate=8000))
    energies = [part.square().sum((1, 2)) for part in (found[:, 3], found[:, :3].sum(1))]
    assert torch.allclose(10 * (energies[0] / energies[1]).log10(), torch.tensor(6.0), atol=1e-3)


@pytest.mark.parametrize("targets", [[], [0, 1, 2, 3]])
def test_a_ratio_needs_targets_and_a_rest(targets: list[int], stems: Tensor) -> None:
    with pytest.raises(InputError, match=r"augment\.snr_decibels \[0, 6\].*null"):
        Augment(0, snr_decibels=[0, 6])(stems, KEYS, None, targets)


def test_what_is_read_is_as_long_as_it_must_be(stems: Tensor) -> None:
    assert Augment(0).read_length(1000) == 1000
    assert Augment(0, equaliser=1.0, tempo_percent=(0, 50)).read_length(1000) == 1000
    for settings, longer in (
        ({"tempo": 0.1, "tempo_percent": (0, 50)}, 500),
        ({"tempo": 0.1, "tempo_percent": (-20, -10)}, 0),
        ({"pitch": 0.1}, 0),
    ):
        augment = Augment(0, **settings)
        assert augment.read_length(1000) == 1000 + longer + 2 * augment.window
        with pytest.raises(ValueError, match="read_length"):
            augment(stems, KEYS)


@pytest.mark.parametrize("remix", [False, True])
def test_one_channel_is_enough(remix: bool) -> None:
    augment = Augment(0, remix=remix, **EVERYTHING)
    found = augment(excerpts(augment)[:, :, :1], FEW, CHUNK, [3])
    assert found.shape == (len(FEW), 4, 1, CHUNK)
    assert found.isfinite().all()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"gain": [1.0, 0.5]}, r"augment\.gain \[1\.0, 0\.5\].*least, most"),
        ({"gain": [-1.0, 0.5]}, r"augment\.gain \[-1\.0, 0\.5\].*from 0 to 100"),
        *[({name: 1.5}, rf"augment\.{name} 1\.5 .*0 to 1") for name in CHANCES],
        *[({name: -0.1}, rf"augment\.{name} -0\.1 .*0 to 1") for name in CHANCES],
        ({"mono": float("nan")}, r"augment\.mono nan"),
        ({"tempo_percent": [12, -12]}, r"augment\.tempo_percent \[12, -12\].*least, most"),
        ({"tempo_percent": [-100, 0]}, r"augment\.tempo_percent \[-100, 0\].*-50 to 100"),
        ({"pitch_semitones": [-24, 0]}, r"augment\.pitch_semitones \[-24, 0\].*-12 to 12"),
        ({"pitch_semitones": [2]}, r"augment\.pitch_semitones \[2\].*least, most"),
        ({"equaliser_decibels": [0, 100]}, r"augment\.equaliser_decibels \[0, 100\]"),
        ({"equaliser_hertz": [0, 100]}, r"augment\.equaliser_hertz \[0, 100\]"),
        ({"equaliser_hertz": [100, 150]}, r"augment\.equaliser_hertz \[100, 150\].*octave"),
        ({"equaliser_hertz": [5000, 9e3], "sample_rate": 8000}, r"5000, 9000.*8000 Hz"),
        ({"snr_decibels": [5, 0]}, r"augment\.snr_decibels \[5, 0\]"),
        ({"snr_decibels": []}, r"augment\.snr_decibels \[\]"),
    ],
)
def test_what_cannot_be_is_said_at_once(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Augment(0, **given)


def test_nothing_is_chosen_of_a_small_batch(stems: Tensor) -> None:
    """However rarely something is done, batches in which it is not done pass."""
    rare = dict.fromkeys(("polarity", "mono", "tempo", "pitch", "equaliser"), 1e-09)
    augment = Augment(0, gain=(1.0, 1.0), swap_channels=False, **rare)
    long = torch.randn(2, 4, 2, augment.read_length(1000))
    augmented = augment(long, KEYS[:2], 1000)
    window = augment.window
    assert torch.equal(augmented, long[..., window : window + 1000])
