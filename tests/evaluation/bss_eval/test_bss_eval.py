"""BSS Eval: museval's and mir_eval's figures, and NaN where they give up."""

import inspect
import os
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

# museval 0.4.1 names an exception by a path that NumPy 2 no longer has.
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
    """References of white noise, and estimates into which other stems leak, filtered, and noise."""
    random = np.random.default_rng(seed)
    references = 0.1 * random.standard_normal((stems, int(seconds * rate), channels))
    leaked = 0.3 * np.roll(references, 1, axis=0) + 0.2 * np.roll(references, 3, axis=1)
    return references, references + leaked + 0.02 * random.standard_normal(references.shape)


def musevals(
    references: np.ndarray, estimates: np.ndarray, window: int = RATE, hop: int = RATE
) -> BssEval:
    sdr, isr, sir, sar = museval.evaluate(references, estimates, win=window, hop=hop)
    return BssEval(sdr, isr, sir, sar)


def assert_equal(found: BssEval, expected: BssEval) -> None:
    for metric, values, others in zip(BssEval._fields, found, expected, strict=True):
        tolerance = 1e-9 if metric == "sdr" else 1e-6
        finite = np.isfinite(others) & (np.abs(others) < 100)
        np.testing.assert_array_equal(np.isnan(values), np.isnan(others), err_msg=metric)
        np.testing.assert_allclose(
            values[finite], others[finite], rtol=0, atol=tolerance, err_msg=metric
        )


@pytest.mark.parametrize("stems", [1, 2, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_equal_to_museval(stems: int, channels: int) -> None:
    pair = material(stems, channels=channels)
    found = bss_eval(*pair, RATE, RATE)
    expected = musevals(*pair)
    if stems == 1:  # with nothing to interfere, SIR is rounding
        found, expected = (scores._replace(sir=scores.sdr) for scores in (found, expected))
    assert_equal(found, expected)


@pytest.mark.parametrize(
    ("seconds", "window", "hop"),
    [
        (3.5, RATE, RATE),  # half a window is left over
        (3.0, RATE, RATE // 2),
        (3.1, RATE // 3, RATE // 2 + 1),
        (0.4, RATE, RATE),  # shorter than a window
        (2.0, 2 * RATE, RATE),  # exactly one
    ],
)
def test_windows_are_musevals(seconds: float, window: int, hop: int) -> None:
    pair = material(2, seconds)
    assert_equal(bss_eval(*pair, window, hop), musevals(*pair, window, hop))


def test_a_frame_in_which_any_signal_is_silent_is_nan_for_all() -> None:
    references, estimates = material(3, 5)
    references[1, RATE : 2 * RATE] = 0
    estimates[2, 3 * RATE : 4 * RATE] = 0
    found = bss_eval(references, estimates, RATE, RATE)
    assert np.isnan(found.sdr).tolist() == [[False, True, False, True, False]] * 3
    assert_equal(found, musevals(references, estimates))
    reasons = Counter(
        str(why) for frame in dropped(references, estimates, RATE, RATE) for why in frame
    )
    assert reasons == {"reference is silent": 1, "estimate is silent": 1}


@pytest.mark.parametrize("which", [0, 1])
def test_a_stem_that_is_silent_throughout_leaves_no_score_and_no_crash(which: int) -> None:
    pair = material(2)
    pair[which][1] = 0
    with pytest.raises(ValueError, match="silent"):
        museval.metrics.bss_eval(*pair, window=RATE, hop=RATE, compute_permutation=False)
    assert all(np.isnan(scores).all() for scores in bss_eval(*pair, RATE, RATE))


def test_channels_that_cancel_count_as_silence_as_museval_has_it() -> None:
    references, estimates = material(2)
    references[0, RATE : 2 * RATE, 1] = -references[0, RATE : 2 * RATE, 0]
    found = bss_eval(references, estimates, RATE, RATE)
    assert_equal(found, musevals(references, estimates))
    assert np.isnan(found.sdr[0]).tolist() == [False, True, False, False]
    [why] = dropped(references, estimates, RATE, RATE)[1]
    assert why.cancels
    assert str(why) == "reference has channels that cancel"


def test_mono_in_stereo() -> None:
    """museval's equations are singular then, and rounding tells what it makes of them."""
    references, estimates = material(2, channels=1)
    dual = [np.repeat(signals, 2, axis=2) for signals in (references, estimates)]
    found = bss_eval(*dual, RATE, RATE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = musevals(*dual)
    np.testing.assert_allclose(found.sdr, expected.sdr, atol=1e-9)
    for metric in ("isr", "sir", "sar"):
        np.testing.assert_allclose(getattr(found, metric), getattr(expected, metric), atol=1e-3)
    mono = bss_eval(references, estimates, RATE, RATE)
    np.testing.assert_allclose(found.sdr, mono.sdr, atol=1e-9)


def test_one_stem_that_repeats_another() -> None:
    references, estimates = material(2)
    references[1] = references[0]
    found = bss_eval(references, estimates, RATE, RATE)
    assert_equal(found._replace(sir=found.sdr, sar=found.sdr), _sdr_only(references, estimates))
    assert np.isfinite(found.sar).all()


def _sdr_only(references: np.ndarray, estimates: np.ndarray) -> BssEval:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = musevals(references, estimates)
    return expected._replace(sir=expected.sdr, sar=expected.sdr)


def test_the_perfect_estimate() -> None:
    references, _ = material(2)
    found = bss_eval(references, references.copy(), RATE, RATE)
    assert (found.sdr == np.inf).all()
    assert (found.sar > 200).all()


def test_a_single_target_has_scores() -> None:
    references, estimates = material(1)
    found = bss_eval(references, estimates, RATE, RATE)
    assert all(scores.shape == (1, 4) for scores in found)
    assert np.isfinite(found.sdr).all()


def test_signals_in_any_form() -> None:
    """Views that go backwards, and tensors that have gradients."""
    references, estimates = material(2)
    expected = bss_eval(references, estimates, RATE, RATE)
    backwards = [np.ascontiguousarray(x[:, ::-1])[:, ::-1] for x in (references, estimates)]
    assert_equal(bss_eval(*backwards, RATE, RATE), expected)
    learnt = [torch.from_numpy(x).requires_grad_() for x in (references, estimates)]
    assert_equal(bss_eval(*learnt, RATE, RATE), expected)
    with pytest.raises(InputError, match=r"window \(100\.5\) and hop \(100\.5\) must be whole"):
        # (Whoever has no type checker at hand.)
        inspect.unwrap(frames)(1000, 100.5, 100.5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_finds_the_same() -> None:
    references, estimates = material(4)
    on_gpu = [torch.from_numpy(x).cuda() for x in (references, estimates)]
    assert_equal(bss_eval(*on_gpu, RATE, RATE), bss_eval(references, estimates, RATE, RATE))


def test_what_has_no_score_is_refused_with_the_place() -> None:
    references, estimates = material(2)
    estimates[1, 77, 0] = np.nan
    with pytest.raises(InputError, match=r"estimate of stem 1 has 1 samples.*the first at 77"):
        bss_eval(references, estimates, RATE, RATE)
    references[0, 5] = np.inf
    with pytest.raises(InputError, match="reference of stem 0 has 1 samples"):
        bss_eval(references, estimates, RATE, RATE)
    with pytest.raises(InputError, match="must have the same stems, samples and channels"):
        bss_eval(references, estimates[:, :-1], RATE, RATE)
    with pytest.raises(InputError, match=r"window \(0\)"):
        bss_eval(*material(2), 0, RATE)


def test_several_systems_have_what_each_has_alone() -> None:
    references, estimates = material(3)
    louder = 1.7 * estimates
    silent = estimates.copy()
    silent[1, RATE : 2 * RATE] = 0
    systems = [estimates, louder, silent]
    for found, system in zip(
        bss_eval_systems(references, systems, RATE, RATE), systems, strict=True
    ):
        assert_equal(found, bss_eval(references, system, RATE, RATE))


def test_inputs_stay_as_they_are_whatever_they_are() -> None:
    references, estimates = material(2)
    copies = references.copy(), estimates.copy()
    from_numpy = bss_eval(references, estimates, RATE, RATE)
    for signals, copy in zip((references, estimates), copies, strict=True):
        np.testing.assert_array_equal(signals, copy)
    tensors = (torch.from_numpy(signals) for signals in copies)
    assert_equal(bss_eval(*tensors, RATE, RATE), from_numpy)


def test_level_counts_and_scores_do_not_depend_on_full_scale() -> None:
    references, estimates = material(2)
    found = bss_eval(references, estimates, RATE, RATE)
    softer = bss_eval(0.01 * references, 0.01 * estimates, RATE, RATE)
    np.testing.assert_allclose(softer.sdr, found.sdr, atol=1e-9)
    wrong_level = bss_eval(references, 0.5 * estimates, RATE, RATE)
    assert (wrong_level.sdr < found.sdr).all()
    np.testing.assert_allclose(wrong_level.sir, found.sir, atol=1e-6)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("stems", [1, 2, 4])
def test_version_3_is_mir_evals(stems: int) -> None:
    references, estimates = (signals[..., 0] for signals in material(stems, 2, channels=1))
    expected = mir_eval.separation.bss_eval_sources(references, estimates, False)
    found = bss_eval_sources(references, estimates)
    np.testing.assert_allclose(found.sdr, expected[0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.sar, expected[2], rtol=0, atol=1e-6)
    if stems > 1:
        np.testing.assert_allclose(found.sir, expected[1], rtol=0, atol=1e-6)


def test_version_3_of_several_systems_and_of_silence() -> None:
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
    """Every sample that is not zero, the next number above or below it."""
    up = random.integers(0, 2, signals.shape, dtype=bool)
    changed = np.where(up, np.nextafter(signals, np.inf), np.nextafter(signals, -np.inf))
    return np.where(signals == 0, 0, changed)


def assert_as_near_as_museval_is_to_itself(
    references: np.ndarray, estimates: np.ndarray, rate: int, draws: int
) -> None:
    """Within twice what museval's own figures move by when its input changes in the last bit."""
    expected = musevals(references, estimates, rate, rate)
    random = np.random.default_rng(0)
    moved = [
        musevals(*(in_the_last_bit(x, random) for x in (references, estimates)), rate, rate)
        for _ in range(draws)
    ]
    found = bss_eval(references, estimates, rate, rate)
    for metric, values, others in zip(BssEval._fields, found, expected, strict=True):
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
def test_musevals_own_test_song() -> None:
    streams = audio.read_streams(ROCK, range(5))
    rate = streams[0].sample_rate
    stems = np.stack([stream.samples.T.astype(np.float64) for stream in streams[1:]])
    mixture = streams[0].samples.T.astype(np.float64)
    assert_as_near_as_museval_is_to_itself(stems, 0.6 * stems + 0.1 * mixture, rate, draws=3)


@needs_music
@pytest.mark.slow
@pytest.mark.parametrize("song", ["Caesium", "Rubidium"])
def test_real_songs(song: str) -> None:
    [path] = (ALBUM / "test").glob(f"*{song}.stem.mp4")
    mixture, drums, _, other, vocals = (
        stream.samples.T.astype(np.float64)[: 20 * 44100]
        for stream in audio.read_streams(path, range(5))
    )
    stems = np.stack([vocals, drums + other])
    estimates = 0.7 * stems + 0.2 * mixture
    assert_as_near_as_museval_is_to_itself(stems, estimates, 44100, draws=8)


@pytest.mark.slow
def test_a_long_song_takes_no_more_memory_than_a_window_at_a_time() -> None:
    """Ten minutes of two stereo stems, in a process of its own: signals and 600 MB besides."""
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
