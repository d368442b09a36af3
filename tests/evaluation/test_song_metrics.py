"""Metrics of whole songs equal their definitions and reference implementations."""

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


def test_si_sdr_equals_definition_and_ignores_scale() -> None:
    reference, estimate = pair()
    r, e = (x.astype(np.float64).ravel() for x in (reference, estimate))
    target = r * (r @ e) / (r @ r)
    expected = 10 * np.log10(target @ target / ((e - target) @ (e - target)))
    assert si_sdr(reference, estimate) == pytest.approx(expected, abs=1e-6)
    assert si_sdr(reference, 0.1 * estimate) == pytest.approx(expected, abs=1e-3)
    torchmetrics = scale_invariant_signal_distortion_ratio(*(torch.from_numpy(x) for x in (e, r)))
    assert si_sdr(reference, estimate) == pytest.approx(float(torchmetrics), abs=1e-9)
    assert si_sdr(reference, 2 * reference) > 200


def test_si_sdr_of_orthogonal_estimate_is_minus_infinity() -> None:
    """Minus infinity is the limit: SI-SDR falls with the share of the reference."""
    reference = np.array([[0.5, -0.25, 0.0, 0.0]], np.float32)
    error = np.array([[0.0, 0.0, 0.5, 0.5]], np.float32)
    assert si_sdr(reference, error) == -np.inf
    assert si_sdr(reference, error + 1e-6 * reference) < si_sdr(reference, error + 0.1 * reference)
    assert si_sdr(reference, np.float32(-0.5) * reference) == np.inf


def test_nsdr_of_orthogonal_estimate_is_minus_infinity() -> None:
    time = np.zeros((1, 4 * RATE), np.float32)
    references = {"vocals": time.copy(), "drums": time.copy()}
    noise = np.random.default_rng(0).standard_normal((3, RATE)).astype(np.float32)
    references["vocals"][0, :RATE], references["drums"][0, 2 * RATE : 3 * RATE] = noise[:2]
    mixture = references["vocals"] + references["drums"]
    swapped = {"vocals": references["drums"], "drums": references["vocals"]}
    [scores] = normalised_sdr(references, [swapped], mixture)
    assert scores["vocals"]["NSDR"] == -np.inf


def test_nsdr_is_nan_for_perfect_mixture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding errors make the computed SDR finite, so the test replaces BSS Eval."""
    mixture = BssEvalSources(*np.array([[np.inf]] * 3))
    estimate = BssEvalSources(*np.array([[10.0]] * 3))
    monkeypatch.setattr(
        "stemsplit.evaluation.song_metrics.bss_eval_sources_systems", lambda *_: [mixture, estimate]
    )
    song = {"vocals": pair(channels=1)[0]}
    [figures] = normalised_sdr(song, [song], song["vocals"])
    assert np.isnan(figures["vocals"]["NSDR"])
    assert figures["vocals"]["SIR (v3)"] == 10


def test_block_size_does_not_change_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    reference, estimate = pair()
    one_block = si_sdr(reference, estimate), challenge_sdr(reference, estimate)
    monkeypatch.setattr("stemsplit.evaluation.song_metrics.BLOCK", 1001)
    blocks = si_sdr(reference, estimate), challenge_sdr(reference, estimate)
    assert blocks == pytest.approx(one_block, abs=1e-9)


def test_challenge_sdr_equals_definition() -> None:
    reference, estimate = pair()
    expected = 10 * np.log10(np.sum(reference**2.0) / np.sum((reference - estimate) ** 2.0))
    assert challenge_sdr(reference, estimate) == pytest.approx(expected, abs=1e-4)
    assert challenge_sdr(reference, 0 * estimate) == pytest.approx(0, abs=1e-6)
    assert np.isfinite(challenge_sdr(reference, reference))


def test_stft_distance_grows_with_error() -> None:
    reference, estimate = pair()
    far = reference + 10 * (estimate - reference)
    zero, near, far = (stft_distance(reference, x) for x in (reference, estimate, far))
    assert zero == pytest.approx(0, abs=1e-6)
    assert zero < near < far


@pytest.mark.parametrize("figure", [si_sdr, challenge_sdr, stft_distance])
def test_silent_reference_has_no_score(figure: object) -> None:
    reference, estimate = pair()
    assert np.isnan(figure(0 * reference, estimate))


@pytest.mark.parametrize("figure", [si_sdr, stft_distance])
def test_silent_estimate_has_no_score(figure: object) -> None:
    reference, estimate = pair()
    assert np.isnan(figure(reference, 0 * estimate))


def test_short_song_has_no_stft_distance() -> None:
    assert np.isnan(stft_distance(*pair(seconds=0.1)))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_nsdr_equals_gain_of_mir_eval_sdr() -> None:
    vocals, noisy = pair(1, seed=1)
    other, noisy_other = pair(1, seed=2)
    references = {"vocals": vocals, "accompaniment": other}
    estimates = {"vocals": noisy + 0.3 * other, "accompaniment": noisy_other}
    mixture = vocals + other
    baseline = dict.fromkeys(references, mixture)
    [scores, of_mixture] = whole_song(references, [estimates, baseline], mixture)

    def sdr(song: dict[str, np.ndarray]) -> np.ndarray:
        stacks = [np.stack([part[stem][0] for stem in references]) for part in (references, song)]
        return mir_eval.separation.bss_eval_sources(*stacks, compute_permutation=False)

    gains = sdr(estimates)[0] - sdr(baseline)[0]
    for stem, gain, sar in zip(references, gains, sdr(estimates)[2], strict=True):
        assert scores[stem]["NSDR"] == pytest.approx(gain, abs=1e-5)
        assert scores[stem]["SAR (v3)"] == pytest.approx(sar, abs=1e-5)
        assert of_mixture[stem]["NSDR"] == pytest.approx(0, abs=1e-9)


def test_silent_estimate_has_no_nsdr_and_changes_no_other_stem() -> None:
    vocals, noisy = pair(1, seed=1)
    other, noisy_other = pair(1, seed=2)
    references = {"vocals": vocals, "accompaniment": other}
    estimates = {"vocals": noisy, "accompaniment": noisy_other}
    silent = estimates | {"vocals": 0 * noisy}
    with_both, without = whole_song(references, [estimates, silent], vocals + other)
    assert np.isnan([without["vocals"][name] for name in MONO_FIGURES]).all()
    for name in MONO_FIGURES:
        scores, expected = without["accompaniment"][name], with_both["accompaniment"][name]
        assert scores == pytest.approx(expected, abs=1e-6)


def test_stereo_song_has_no_mono_metrics() -> None:
    reference, estimate = pair(2)
    for spectral, more in ((False, set()), (True, {"STFT distance"})):
        [scores] = whole_song({"vocals": reference}, [{"vocals": estimate}], reference, spectral)
        assert set(scores["vocals"]) == set(SONG_METRICS) | more
