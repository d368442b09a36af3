"""BSS Eval: scores equal museval and mir_eval; NaN where these raise."""

import inspect
import os
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

# museval 0.4.1 uses `numpy.linalg.linalg`, which NumPy 2 removed.
if not hasattr(np.linalg, "linalg"):
    np.linalg.linalg = np.linalg
import mir_eval
import museval

from stemsplit import audio
from stemsplit.errors import InputError
from stemsplit.evaluation.bss_eval.bss_eval import (
    BssEval,
    bss_eval,
    bss_eval_sources,
    bss_eval_sources_systems,
    bss_eval_systems,
)
from stemsplit.evaluation.bss_eval.frames import dropped, frames

RATE = 8000
SHARED = Path(os.environ.get("STEMSPLIT_TEST_DATA", Path(__file__).parents[4] / "shared/data"))
ROCK = SHARED / "musdb18-sample/train/Music Delta - 80s Rock.stem.mp4"
ALBUM = SHARED / "evr"
needs_music = pytest.mark.skipif(
    not ROCK.is_file(), reason="STEMSPLIT_TEST_DATA names no folder of real songs"
)


def material(
    stems: int = 2, seconds: float = 4, channels: int = 2, rate: int = RATE, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """References of white noise, and estimates with filtered leakage of other stems and noise."""
    random = np.random.default_rng(seed)
    references = 0.1 * random.standard_normal((stems, int(seconds * rate), channels))
    leaked = 0.3 * np.roll(references, 1, axis=0) + 0.2 * np.roll(references, 3, axis=1)
    return references, references + leaked + 0.02 * random.standard_normal(references.shape)


def museval_scores(
    references: np.ndarray, estimates: np.ndarray, window: int = RATE, hop: int = RATE
) -> BssEval:
    sdr, isr, sir, sar = museval.evaluate(references, estimates, win=window, hop=hop)
    return BssEval(sdr, isr, sir, sar)


def assert_equal(scores: BssEval, expected: BssEval) -> None:
    for metric, values, others in zip(BssEval._fields, scores, expected, strict=True):
        tolerance = 1e-9 if metric == "sdr" else 1e-6
        finite = np.isfinite(others) & (np.abs(others) < 100)
        np.testing.assert_array_equal(np.isnan(values), np.isnan(others), err_msg=metric)
        np.testing.assert_allclose(
            values[finite], others[finite], rtol=0, atol=tolerance, err_msg=metric
        )


@pytest.mark.parametrize("stems", [1, 2, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_scores_equal_museval(stems: int, channels: int) -> None:
    pair = material(stems, channels=channels)
    scores = bss_eval(*pair, RATE, RATE)
    expected = museval_scores(*pair)
    if stems == 1:  # without interference, SIR consists of rounding errors
        scores, expected = (result._replace(sir=result.sdr) for result in (scores, expected))
    assert_equal(scores, expected)


@pytest.mark.parametrize(
    ("seconds", "window", "hop"),
    [
        (3.5, RATE, RATE),  # half a window remains at the end
        (3.0, RATE, RATE // 2),
        (3.1, RATE // 3, RATE // 2 + 1),
        (0.4, RATE, RATE),  # shorter than a window
        (2.0, 2 * RATE, RATE),  # exactly one window
    ],
)
def test_windows_equal_museval(seconds: float, window: int, hop: int) -> None:
    pair = material(2, seconds)
    assert_equal(bss_eval(*pair, window, hop), museval_scores(*pair, window, hop))


def test_frame_with_silent_signal_is_nan_for_all_stems() -> None:
    references, estimates = material(3, 5)
    references[1, RATE : 2 * RATE] = 0
    estimates[2, 3 * RATE : 4 * RATE] = 0
    scores = bss_eval(references, estimates, RATE, RATE)
    assert np.isnan(scores.sdr).tolist() == [[False, True, False, True, False]] * 3
    assert_equal(scores, museval_scores(references, estimates))
    reasons = Counter(
        str(why) for frame in dropped(references, estimates, RATE, RATE) for why in frame
    )
    assert reasons == {"reference is silent": 1, "estimate is silent": 1}


@pytest.mark.parametrize("which", [0, 1])
def test_silent_stem_gives_nan_instead_of_error(which: int) -> None:
    pair = material(2)
    pair[which][1] = 0
    with pytest.raises(ValueError, match="silent"):
        museval.metrics.bss_eval(*pair, window=RATE, hop=RATE, compute_permutation=False)
    assert all(np.isnan(scores).all() for scores in bss_eval(*pair, RATE, RATE))


def test_cancelling_channels_count_as_silence() -> None:
    references, estimates = material(2)
    references[0, RATE : 2 * RATE, 1] = -references[0, RATE : 2 * RATE, 0]
    scores = bss_eval(references, estimates, RATE, RATE)
    assert_equal(scores, museval_scores(references, estimates))
    assert np.isnan(scores.sdr[0]).tolist() == [False, True, False, False]
    [why] = dropped(references, estimates, RATE, RATE)[1]
    assert why.cancels
    assert str(why) == "reference has channels that cancel"


def test_equal_channels_score_like_mono() -> None:
    """museval's equations are singular here, so its scores depend on rounding errors."""
    references, estimates = material(2, channels=1)
    dual = [np.repeat(signals, 2, axis=2) for signals in (references, estimates)]
    scores = bss_eval(*dual, RATE, RATE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = museval_scores(*dual)
    np.testing.assert_allclose(scores.sdr, expected.sdr, atol=1e-9)
    for metric in ("isr", "sir", "sar"):
        np.testing.assert_allclose(getattr(scores, metric), getattr(expected, metric), atol=1e-3)
    mono = bss_eval(references, estimates, RATE, RATE)
    np.testing.assert_allclose(scores.sdr, mono.sdr, atol=1e-9)


def test_repeated_reference_has_scores() -> None:
    references, estimates = material(2)
    references[1] = references[0]
    scores = bss_eval(references, estimates, RATE, RATE)
    assert_equal(scores._replace(sir=scores.sdr, sar=scores.sdr), _sdr_only(references, estimates))
    assert np.isfinite(scores.sar).all()


def _sdr_only(references: np.ndarray, estimates: np.ndarray) -> BssEval:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = museval_scores(references, estimates)
    return expected._replace(sir=expected.sdr, sar=expected.sdr)


def test_perfect_estimate_has_infinite_sdr() -> None:
    references, _ = material(2)
    scores = bss_eval(references, references.copy(), RATE, RATE)
    assert (scores.sdr == np.inf).all()
    assert (scores.sar > 200).all()


def test_single_stem_has_scores() -> None:
    references, estimates = material(1)
    scores = bss_eval(references, estimates, RATE, RATE)
    assert all(metric.shape == (1, 4) for metric in scores)
    assert np.isfinite(scores.sdr).all()


def test_reversed_views_and_gradients_are_accepted() -> None:
    """NumPy views with negative strides, and tensors that require gradients."""
    references, estimates = material(2)
    expected = bss_eval(references, estimates, RATE, RATE)
    backwards = [np.ascontiguousarray(x[:, ::-1])[:, ::-1] for x in (references, estimates)]
    assert_equal(bss_eval(*backwards, RATE, RATE), expected)
    with_gradients = [torch.from_numpy(x).requires_grad_() for x in (references, estimates)]
    assert_equal(bss_eval(*with_gradients, RATE, RATE), expected)
    with pytest.raises(InputError, match=r"window \(100\.5\) and hop \(100\.5\) must be integers"):
        # Without the run-time type check of the tests, as users call it.
        inspect.unwrap(frames)(1000, 100.5, 100.5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_gpu_gives_same_scores() -> None:
    references, estimates = material(4)
    on_gpu = [torch.from_numpy(x).cuda() for x in (references, estimates)]
    assert_equal(bss_eval(*on_gpu, RATE, RATE), bss_eval(references, estimates, RATE, RATE))


def test_invalid_signals_raise_with_position() -> None:
    references, estimates = material(2)
    estimates[1, 77, 0] = np.nan
    with pytest.raises(InputError, match=r"estimate of stem 1 has 1 sample .*the first at 77"):
        bss_eval(references, estimates, RATE, RATE)
    references[0, 5] = np.inf
    with pytest.raises(InputError, match="reference of stem 0 has 1 sample "):
        bss_eval(references, estimates, RATE, RATE)
    with pytest.raises(InputError, match="must have the same stems, samples and channels"):
        bss_eval(references, estimates[:, :-1], RATE, RATE)
    with pytest.raises(InputError, match=r"window \(0\)"):
        bss_eval(*material(2), 0, RATE)


def test_scoring_systems_together_gives_same_scores() -> None:
    references, estimates = material(3)
    louder = 1.7 * estimates
    silent = estimates.copy()
    silent[1, RATE : 2 * RATE] = 0
    systems = [estimates, louder, silent]
    together = bss_eval_systems(references, systems, RATE, RATE)
    for scores, system in zip(together, systems, strict=True):
        assert_equal(scores, bss_eval(references, system, RATE, RATE))


def test_inputs_are_not_changed() -> None:
    references, estimates = material(2)
    copies = references.copy(), estimates.copy()
    from_numpy = bss_eval(references, estimates, RATE, RATE)
    for signals, copy in zip((references, estimates), copies, strict=True):
        np.testing.assert_array_equal(signals, copy)
    tensors = (torch.from_numpy(signals) for signals in copies)
    assert_equal(bss_eval(*tensors, RATE, RATE), from_numpy)


def test_common_scale_does_not_matter_but_wrong_level_does() -> None:
    references, estimates = material(2)
    scores = bss_eval(references, estimates, RATE, RATE)
    softer = bss_eval(0.01 * references, 0.01 * estimates, RATE, RATE)
    np.testing.assert_allclose(softer.sdr, scores.sdr, atol=1e-9)
    wrong_level = bss_eval(references, 0.5 * estimates, RATE, RATE)
    assert (wrong_level.sdr < scores.sdr).all()
    np.testing.assert_allclose(wrong_level.sir, scores.sir, atol=1e-6)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("stems", [1, 2, 4])
def test_version_3_equals_mir_eval(stems: int) -> None:
    references, estimates = (signals[..., 0] for signals in material(stems, 2, channels=1))
    expected = mir_eval.separation.bss_eval_sources(references, estimates, False)
    scores = bss_eval_sources(references, estimates)
    np.testing.assert_allclose(scores.sdr, expected[0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(scores.sar, expected[2], rtol=0, atol=1e-6)
    if stems > 1:
        np.testing.assert_allclose(scores.sir, expected[1], rtol=0, atol=1e-6)


def test_version_3_with_several_systems_and_silence() -> None:
    references, estimates = (signals[..., 0] for signals in material(2, 2, channels=1))
    silent = estimates.copy()
    silent[0] = 0
    first, second, third = bss_eval_sources_systems(references, [estimates, silent, 2 * estimates])
    np.testing.assert_allclose(first.sdr, bss_eval_sources(references, estimates).sdr, atol=1e-9)
    assert np.isnan(second.sdr).all()
    np.testing.assert_allclose(third.sdr, first.sdr, atol=1e-6)  # a filter may scale
    references[1] = 0
    assert np.isnan(bss_eval_sources(references, estimates).sdr).all()


def in_the_last_bit(signals: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Replace every nonzero sample by the next floating-point number above or below it."""
    up = random.integers(0, 2, signals.shape, dtype=bool)
    changed = np.where(up, np.nextafter(signals, np.inf), np.nextafter(signals, -np.inf))
    return np.where(signals == 0, 0, changed)


def assert_as_near_as_museval_to_itself(
    references: np.ndarray, estimates: np.ndarray, rate: int, draws: int
) -> None:
    """Compare with museval, as precisely as its scores are defined.

    Our scores must differ by at most twice as much as museval's scores change when its input
    changes in the last bit.
    """
    expected = museval_scores(references, estimates, rate, rate)
    random = np.random.default_rng(0)
    moved = [
        museval_scores(*(in_the_last_bit(x, random) for x in (references, estimates)), rate, rate)
        for _ in range(draws)
    ]
    scores = bss_eval(references, estimates, rate, rate)
    for metric, values, others in zip(BssEval._fields, scores, expected, strict=True):
        np.testing.assert_array_equal(np.isnan(values), np.isnan(others))
        finite = np.isfinite(others) & (np.abs(others) < 100)

        def apart(figures: np.ndarray, others: np.ndarray = others, where=finite) -> float:
            return float(np.abs(figures - others)[where].max())

        own = [apart(getattr(scores, metric)) for scores in moved]
        print(
            f"{metric}: {apart(values):.2g} dB, museval's own {' '.join(f'{x:.2g}' for x in own)}"
        )
        assert apart(values) < (1e-9 if metric == "sdr" else max(2 * max(own), 1e-6))


@needs_music
@pytest.mark.slow
def test_scores_equal_museval_on_its_test_song() -> None:
    streams = audio.read_streams(ROCK, range(5))
    rate = streams[0].sample_rate
    stems = np.stack([stream.samples.T.astype(np.float64) for stream in streams[1:]])
    mixture = streams[0].samples.T.astype(np.float64)
    assert_as_near_as_museval_to_itself(stems, 0.6 * stems + 0.1 * mixture, rate, draws=3)


@needs_music
@pytest.mark.slow
@pytest.mark.parametrize("song", ["Caesium", "Rubidium"])
def test_scores_equal_museval_on_real_songs(song: str) -> None:
    [path] = (ALBUM / "test").glob(f"*{song}.stem.mp4")
    mixture, drums, _, other, vocals = (
        stream.samples.T.astype(np.float64)[: 20 * 44100]
        for stream in audio.read_streams(path, range(5))
    )
    stems = np.stack([vocals, drums + other])
    estimates = 0.7 * stems + 0.2 * mixture
    assert_as_near_as_museval_to_itself(stems, estimates, 44100, draws=8)


@pytest.mark.slow
def test_long_song_needs_little_extra_memory() -> None:
    """Ten minutes of two stereo stems, in a separate process, need less than 1.2 GB more."""
    import subprocess
    import sys

    script = (
        "import resource, numpy as np\n"
        "from stemsplit.evaluation.bss_eval.bss_eval import bss_eval\n"
        "random = np.random.default_rng(0)\n"
        "r = random.standard_normal((2, 600 * 44100, 2), np.float32)\n"
        "e = r + random.standard_normal(r.shape, np.float32)\n"
        "bss_eval(r[:, :441000], e[:, :441000], 44100, 44100)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "bss_eval(r, e, 44100, 44100)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) < 1.2e6, "kilobytes"
