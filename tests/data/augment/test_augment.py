"""Each augmentation changes only what it should, and its draws depend on seed and keys only."""

import inspect
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
    """The factor of each stem `(batch, stem)`; it must be the same for every sample."""
    factors = after / before
    assert torch.allclose(factors, factors[:, :, :1, :1].expand_as(factors), rtol=1e-4)
    return factors[:, :, 0, 0]


def test_gains_are_spread_over_their_range(stems: Tensor) -> None:
    factors = gains(stems, Augment(0, gain=(0.25, 1.25), swap_channels=False)(stems, KEYS))
    assert 0.25 <= factors.min() < 0.27
    assert 1.23 < factors.max() <= 1.25
    assert abs(factors.mean() - 0.75) < 0.05
    assert len(factors.unique()) > 0.99 * factors.numel(), "stems share their gains"


def test_swap_exchanges_channels_only(stems: Tensor) -> None:
    augmented = Augment(0, gain=(1.0, 1.0), swap_channels=True)(stems, KEYS)
    unchanged = (augmented == stems).flatten(2).all(-1)
    swapped = (augmented == stems.flip(2)).flatten(2).all(-1)
    assert (unchanged ^ swapped).all()
    assert (swapped.float().mean(0) - 0.5).abs().max() < 0.15, "the probability is not 0.5"
    assert 0.35 < (swapped[:, 0] == swapped[:, 1]).float().mean() < 0.65, "stems share draws"


def test_result_depends_on_keys_only(stems: Tensor) -> None:
    augment = Augment(0)
    augmented = augment(stems, KEYS)
    torch.rand(3)  # the global generator must have no effect
    assert torch.equal(Augment(0)(stems, KEYS), augmented)
    order = torch.randperm(len(KEYS), generator=torch.Generator().manual_seed(0)).tolist()
    shuffled = augment(stems[order], [KEYS[index] for index in order])
    assert torch.equal(shuffled, augmented[order])
    assert torch.equal(augment(stems[7:8], KEYS[7:8]), augmented[7:8])


def test_draws_differ_between_seeds_and_keys(stems: Tensor) -> None:
    equal = stems[:1].expand(len(KEYS), -1, -1, -1)
    factors = gains(equal, Augment(0, swap_channels=False)(equal, KEYS))
    assert len(factors[:, 0].unique()) == len(KEYS)
    another_seed = gains(equal, Augment(1, swap_channels=False)(equal, KEYS))
    assert (factors != another_seed).all()


def test_neutral_augmentation_changes_nothing(stems: Tensor) -> None:
    assert torch.equal(Augment(0, gain=(1.0, 1.0), swap_channels=False)(stems, KEYS), stems)


@pytest.mark.parametrize("swap_channels", [False, True])
def test_input_is_not_modified(stems: Tensor, swap_channels: bool) -> None:
    before = stems.clone()
    Augment(0, swap_channels=swap_channels)(stems, KEYS)
    assert torch.equal(stems, before)


def test_swap_of_one_channel_changes_nothing(stems: Tensor) -> None:
    mono = stems[:, :, :1]
    augmented = Augment(0)(mono, KEYS)
    assert augmented.shape == mono.shape
    assert torch.equal(augmented, Augment(0, swap_channels=False)(mono, KEYS))


def test_silence_and_dtype_are_preserved(stems: Tensor) -> None:
    assert not Augment(0)(torch.zeros_like(stems), KEYS).any()
    assert Augment(0)(stems, KEYS).dtype == stems.dtype
    assert Augment(0)(stems.double(), KEYS).dtype == torch.float64


# NOTHING disables all augmentations, EVERYTHING enables all of them at a rate that is fast.
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
def arguments_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """A function that runs `call` and returns the arguments of its only call of `name`."""

    def arguments_of(name: str, call: Callable[[], object]) -> dict[str, Any]:
        calls: list[dict[str, Any]] = []
        function = getattr(module, name)

        def recording(*positional: Any, **named: Any) -> Any:
            calls.append(inspect.signature(function).bind(*positional, **named).arguments)
            return function(*positional, **named)

        with monkeypatch.context() as patch:
            patch.setattr(module, name, recording)
            call()
        [arguments] = calls
        return arguments

    return arguments_of


def test_default_draws_do_not_change_between_versions(stems: Tensor) -> None:
    augmented = Augment(3)(stems, KEYS)
    for key, before, after in zip(KEYS, stems, augmented, strict=True):
        draw = np.random.default_rng([3, *key, 1])
        factors = torch.from_numpy(draw.uniform(0.25, 1.25, 4)).float()[:, None, None]
        swapped = torch.from_numpy(draw.random(4) < 0.5)[:, None, None]
        expected = before * factors
        assert torch.equal(after, torch.where(swapped, expected.flip(1), expected))


def test_polarity_inverts_signs_only(stems: Tensor) -> None:
    augmented = Augment(0, polarity=0.3, **NOTHING)(stems, KEYS)
    signs = gains(stems, augmented)
    assert (signs.abs() == 1).all()
    assert ((signs < 0).float().mean(0) - 0.3).abs().max() < 0.12, "the probability is not 0.3"
    assert (signs != signs[:, :1]).any(), "stems share draws"
    assert torch.equal(augmented.square(), stems.square())
    spectra = [torch.fft.rfft(samples).abs() for samples in (stems, augmented)]
    assert torch.equal(*spectra)


def test_mono_makes_channels_equal_to_their_mean(stems: Tensor) -> None:
    augmented = Augment(0, mono=0.3, **NOTHING)(stems, KEYS)
    unchanged = (augmented == stems).flatten(2).all(-1)
    equal = (augmented == augmented[:, :, :1]).flatten(2).all(-1)
    assert (unchanged ^ equal).all()
    assert (equal.float().mean(0) - 0.3).abs().max() < 0.12
    assert torch.allclose(augmented.mean(2), stems.mean(2), atol=1e-6)


def test_chunks_have_the_requested_length_and_are_finite() -> None:
    augment = Augment(0, **EVERYTHING)
    chunks = augmented(augment)
    assert augment.read_length(CHUNK) > 1.12 * CHUNK
    assert chunks.shape == (len(FEW), 4, 2, CHUNK)
    assert chunks.dtype == torch.float32
    assert chunks.isfinite().all()
    ends = chunks[..., -100:].square().mean((2, 3)) / chunks.square().mean((2, 3))
    assert ends.min() > 0.1, "a chunk ends in silence"


def test_result_does_not_depend_on_batch_or_order() -> None:
    augment = Augment(0, **EVERYTHING)
    stems = excerpts(augment)
    before = stems.clone()
    chunks = augment(stems, FEW, CHUNK, [3])
    assert torch.equal(stems, before)
    order = [7, 2, 11, 0]
    reordered = augment(stems[order], [FEW[index] for index in order], CHUNK, [3])
    assert torch.allclose(reordered, chunks[order], atol=1e-5)
    for index in range(len(FEW)):
        single = augment(stems[index : index + 1], FEW[index : index + 1], CHUNK, [3])
        assert torch.allclose(single[0], chunks[index], atol=1e-5)


@pytest.mark.parametrize("remix", [False, True])
def test_silence_stays_silent(remix: bool) -> None:
    augment = Augment(0, remix=remix, **EVERYTHING)
    assert not augment(torch.zeros_like(excerpts(augment)), FEW, CHUNK, [3]).any()


@pytest.mark.parametrize(
    ("name", "argument", "single"),
    [
        ("with_tempo_and_pitch", "tempos", {"tempo": 0.5}),
        ("with_tempo_and_pitch", "pitches", {"pitch": 0.5}),
        ("equalise", "decibels", {"equaliser": 0.5}),
        ("with_snr", "decibels", {"snr_decibels": (-10, 10)}),
    ],
)
def test_draws_do_not_depend_on_other_augmentations(
    name: str,
    argument: str,
    single: dict[str, Any],
    arguments_of: Callable[..., dict[str, Any]],
) -> None:
    drawn = []
    for settings in (EVERYTHING, single | NOTHING | {"sample_rate": 8000}):
        augment = Augment(0, **settings)
        values = arguments_of(name, lambda augment=augment: augmented(augment))[argument]
        drawn.append(values[values != 1])  # a factor of 1 means no change
    assert np.array_equal(*drawn)
    assert len(np.unique(drawn[0])) >= len(FEW)


def test_polarity_and_mono_draws_are_independent(stems: Tensor) -> None:
    both, signs, mono, neither = (
        Augment(0, **settings)(stems, KEYS)
        for settings in ({"polarity": 0.5, "mono": 0.5}, {"polarity": 0.5}, {"mono": 0.5}, {})
    )
    assert torch.allclose(both.mean(2), signs.mean(2), atol=1e-6)
    assert torch.allclose(both.abs(), mono.abs(), atol=1e-6)
    assert torch.equal(signs.abs(), neither.abs())


def test_draws_are_spread_over_their_ranges(arguments_of: Callable[..., dict[str, Any]]) -> None:
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
    vocoder = arguments_of("with_tempo_and_pitch", lambda: augmented(augment, keys))
    decibels = arguments_of("equalise", lambda: augmented(augment, keys))["decibels"]
    tempos, semitones = vocoder["tempos"], 12 * np.log2(vocoder["pitches"])
    assert abs(np.corrcoef(tempos, semitones)[0, 1]) < 0.3, "tempo and pitch share draws"
    for values, low, high in ((tempos, 0.95, 1.1), (semitones, -1, 0.5), (decibels, -3, 6)):
        slack = 0.05 * (high - low)
        assert low - slack < values.min() < low + slack
        assert high - slack < values.max() < high + slack


@pytest.mark.parametrize("name", ["with_tempo_and_pitch", "equalise"])
def test_only_drawn_stems_are_processed(
    name: str, arguments_of: Callable[..., dict[str, Any]]
) -> None:
    augment = Augment(0, tempo=0.1, equaliser=0.1, sample_rate=8000, **NOTHING)
    keys = KEYS[:60]
    processed = arguments_of(name, lambda: augmented(augment, keys))["samples"]
    assert processed.shape[0] < 0.2 * 4 * len(keys)
    stems, chunks = excerpts(augment, keys), augmented(augment, keys)
    window = augment.window
    unchanged = (chunks == stems[..., window : window + CHUNK]).flatten(2).all(-1)
    assert 0.7 < unchanged.float().mean() < 0.92


def test_stems_share_tempo_and_pitch_without_remix() -> None:
    settings = {"tempo": 0.7, "pitch": 0.7, "sample_rate": 8000, **NOTHING}
    for remix in (False, True):
        augment = Augment(0, remix=remix, **settings)
        equal_stems = excerpts(augment)[:, :1].expand(-1, 4, -1, -1)
        chunks = augment(equal_stems, FEW, CHUNK)
        differences = (chunks - chunks[:, :1]).abs().amax((1, 2, 3))
        assert (differences < 1e-5).all() if not remix else (differences > 0.01).sum() > 8


def test_snr_has_the_requested_value() -> None:
    chunks = augmented(Augment(0, snr_decibels=(6, 6), sample_rate=8000))
    energies = [part.square().sum((1, 2)) for part in (chunks[:, 3], chunks[:, :3].sum(1))]
    assert torch.allclose(10 * (energies[0] / energies[1]).log10(), torch.tensor(6.0), atol=1e-3)


@pytest.mark.parametrize("targets", [[], [0, 1, 2, 3]])
def test_snr_needs_targets_and_other_stems(targets: list[int], stems: Tensor) -> None:
    with pytest.raises(InputError, match=r"augment\.snr_decibels \[0, 6\].*null"):
        Augment(0, snr_decibels=[0, 6])(stems, KEYS, None, targets)


def test_read_length_covers_fastest_tempo_and_window(stems: Tensor) -> None:
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
def test_one_channel_is_supported(remix: bool) -> None:
    augment = Augment(0, remix=remix, **EVERYTHING)
    chunks = augment(excerpts(augment)[:, :, :1], FEW, CHUNK, [3])
    assert chunks.shape == (len(FEW), 4, 1, CHUNK)
    assert chunks.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gain": [1.0, 0.5]}, r"augment\.gain \[1\.0, 0\.5\].*least, most"),
        ({"gain": [-1.0, 0.5]}, r"augment\.gain \[-1\.0, 0\.5\].*from 0 to 100"),
        *[({name: 1.5}, rf"augment\.{name} is 1\.5, .*0 to 1") for name in CHANCES],
        *[({name: -0.1}, rf"augment\.{name} is -0\.1, .*0 to 1") for name in CHANCES],
        ({"mono": float("nan")}, r"augment\.mono is nan"),
        ({"tempo_percent": [12, -12]}, r"augment\.tempo_percent \[12, -12\].*least, most"),
        ({"tempo_percent": [-100, 0]}, r"augment\.tempo_percent \[-100, 0\].*-50 to 100"),
        ({"pitch_semitones": [-24, 0]}, r"augment\.pitch_semitones \[-24, 0\].*-12 to 12"),
        ({"pitch_semitones": [2]}, r"augment\.pitch_semitones \[2\].*least, most"),
        ({"equaliser_decibels": [0, 100]}, r"augment\.equaliser_decibels \[0, 100\]"),
        ({"equaliser_hertz": [0, 100]}, r"augment\.equaliser_hertz \[0, 100\]"),
        ({"equaliser_hertz": [100, 150]}, r"augment\.equaliser_hertz \[100, 150\].*octave"),
        ({"equaliser_hertz": [5000, 9e3], "sample_rate": 8000}, r"5000, 9000.*4000 Hz"),
        ({"snr_decibels": [5, 0]}, r"augment\.snr_decibels \[5, 0\]"),
        ({"snr_decibels": []}, r"augment\.snr_decibels \[\]"),
    ],
)
def test_invalid_setting_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Augment(0, **settings)


def test_batch_without_drawn_stems_is_unchanged() -> None:
    rare = dict.fromkeys(("polarity", "mono", "tempo", "pitch", "equaliser"), 1e-09)
    augment = Augment(0, gain=(1.0, 1.0), swap_channels=False, **rare)
    stems = torch.randn(2, 4, 2, augment.read_length(1000))
    augmented = augment(stems, KEYS[:2], 1000)
    window = augment.window
    assert torch.equal(augmented, stems[..., window : window + 1000])
