"""Figures of whole songs, by their definitions and their reference implementations."""

import mir_eval
import numpy as np
import pytest
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

from stemsplit.evaluation.bss_eval.bss_eval import BssEvalSources
from stemsplit.evaluation.song_metrics import (
    MONO_FIGURES,
    SONG_METRICS,
    challenge_sdr,
    normalised_sdr,
    si_sdr,
    stft_distance,
    whole_song,
)

RATE = 8000


def pair(channels: int = 2, seconds: float = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    reference = 0.1 * random.standard_normal((channels, int(seconds * RATE)))
    error = 0.02 * random.standard_normal(reference.shape)
    return reference.astype(np.float32), (reference + error).astype(np.float32)


def test_si_sdr_is_of_the_projection_and_takes_no_note_of_scale() -> None:
    reference, estimate = pair()
    r, e = (x.astype(np.float64).ravel() for x in (reference, estimate))
    target = r * (r @ e) / (r @ r)
    expected = 10 * np.log10(target @ target / ((e - target) @ (e - target)))
    assert si_sdr(reference, estimate) == pytest.approx(expected, abs=1e-6)
    assert si_sdr(reference, 0.1 * estimate) == pytest.approx(expected, abs=1e-3)
    theirs = scale_invariant_signal_distortion_ratio(*(torch.from_numpy(x) for x in (e, r)))
    assert si_sdr(reference, estimate) == pytest.approx(float(theirs), abs=1e-9)
    assert si_sdr(reference, 2 * reference) > 200


def test_si_sdr_of_an_estimate_without_its_reference_is_minus_infinity() -> None:
    """As the limit has it: the less of the reference there is, the lower."""
    reference = np.array([[0.5, -0.25, 0.0, 0.0]], np.float32)
    other = np.array([[0.0, 0.0, 0.5, 0.5]], np.float32)
    assert si_sdr(reference, other) == -np.inf
    assert si_sdr(reference, other + 1e-6 * reference) < si_sdr(reference, other + 0.1 * reference)
    assert si_sdr(reference, np.float32(-0.5) * reference) == np.inf


def test_a_stem_without_its_reference_has_the_worst_nsdr() -> None:
    time = np.zeros((1, 4 * RATE), np.float32)
    references = {"vocals": time.copy(), "drums": time.copy()}
    noise = np.random.default_rng(0).standard_normal((3, RATE)).astype(np.float32)
    references["vocals"][0, :RATE], references["drums"][0, 2 * RATE : 3 * RATE] = noise[:2]
    mixture = references["vocals"] + references["drums"]
    swapped = {"vocals": references["drums"], "drums": references["vocals"]}
    [found] = normalised_sdr(references, [swapped], mixture)
    assert found["vocals"]["NSDR"] == -np.inf


def test_there_is_no_gain_over_a_perfect_mixture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its SDR is infinite but for rounding."""
    perfect = BssEvalSources(*np.array([[np.inf]] * 3))
    found = BssEvalSources(*np.array([[10.0]] * 3))
    monkeypatch.setattr(
        "stemsplit.evaluation.song_metrics.bss_eval_sources_systems", lambda *_: [perfect, found]
    )
    song = {"vocals": pair(channels=1)[0]}
    [figures] = normalised_sdr(song, [song], song["vocals"])
    assert np.isnan(figures["vocals"]["NSDR"])
    assert figures["vocals"]["SIR (v3)"] == 10


def test_a_long_song_goes_through_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    reference, estimate = pair()
    whole = si_sdr(reference, estimate), challenge_sdr(reference, estimate)
    monkeypatch.setattr("stemsplit.evaluation.song_metrics.BLOCK", 1001)
    blocks = si_sdr(reference, estimate), challenge_sdr(reference, estimate)
    assert blocks == pytest.approx(whole, abs=1e-9)


def test_the_challenges_sdr_is_of_all_samples() -> None:
    reference, estimate = pair()
    expected = 10 * np.log10(np.sum(reference**2.0) / np.sum((reference - estimate) ** 2.0))
    assert challenge_sdr(reference, estimate) == pytest.approx(expected, abs=1e-4)
    assert challenge_sdr(reference, 0 * estimate) == pytest.approx(0, abs=1e-6)
    assert np.isfinite(challenge_sdr(reference, reference))


def test_the_distance_grows_with_the_error() -> None:
    reference, estimate = pair()
    far = reference + 10 * (estimate - reference)
    none, near, far = (stft_distance(reference, x) for x in (reference, estimate, far))
    assert none == pytest.approx(0, abs=1e-6)
    assert none < near < far


@pytest.mark.parametrize("figure", [si_sdr, challenge_sdr, stft_distance])
def test_silence_has_no_score(figure: object) -> None:
    reference, estimate = pair()
    assert np.isnan(figure(0 * reference, estimate))


@pytest.mark.parametrize("figure", [si_sdr, stft_distance])
def test_a_silent_estimate_has_no_score(figure: object) -> None:
    reference, estimate = pair()
    assert np.isnan(figure(reference, 0 * estimate))


def test_what_is_too_short_for_a_transform_has_no_distance() -> None:
    assert np.isnan(stft_distance(*pair(seconds=0.1)))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_nsdr_is_the_gain_of_mir_evals_sdr() -> None:
    vocals, noisy = pair(1, seed=1)
    other, noisy_other = pair(1, seed=2)
    references = {"vocals": vocals, "accompaniment": other}
    estimates = {"vocals": noisy + 0.3 * other, "accompaniment": noisy_other}
    mixture = vocals + other
    [found, none] = whole_song(references, [estimates, dict.fromkeys(references, mixture)], mixture)

    def sdr(song: dict[str, np.ndarray]) -> np.ndarray:
        stacks = [np.stack([part[stem][0] for stem in references]) for part in (references, song)]
        return mir_eval.separation.bss_eval_sources(*stacks, compute_permutation=False)

    gains = sdr(estimates)[0] - sdr(dict.fromkeys(references, mixture))[0]
    for stem, gain, sar in zip(references, gains, sdr(estimates)[2], strict=True):
        assert found[stem]["NSDR"] == pytest.approx(gain, abs=1e-5)
        assert found[stem]["SAR (v3)"] == pytest.approx(sar, abs=1e-5)
        assert none[stem]["NSDR"] == pytest.approx(0, abs=1e-9)


def test_a_silent_estimate_has_no_nsdr_and_leaves_the_others_theirs() -> None:
    vocals, noisy = pair(1, seed=1)
    other, noisy_other = pair(1, seed=2)
    references = {"vocals": vocals, "accompaniment": other}
    estimates = {"vocals": noisy, "accompaniment": noisy_other}
    silent = estimates | {"vocals": 0 * noisy}
    with_both, without = whole_song(references, [estimates, silent], vocals + other)
    assert np.isnan([without["vocals"][name] for name in MONO_FIGURES]).all()
    for name in MONO_FIGURES:
        found, expected = without["accompaniment"][name], with_both["accompaniment"][name]
        assert found == pytest.approx(expected, abs=1e-6)


def test_stereo_has_no_figures_of_mono_sources() -> None:
    reference, estimate = pair(2)
    for spectral, more in ((False, set()), (True, {"STFT distance"})):
        [found] = whole_song({"vocals": reference}, [{"vocals": estimate}], reference, spectral)
        assert set(found["vocals"]) == set(SONG_METRICS) | more
