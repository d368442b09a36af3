"""Scores of a song equal those of museval; songs that museval refuses have scores and notes too."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import museval
import numpy as np
import pytest

from stemsplit.errors import InputError
from stemsplit.evaluation.matching import Song
from stemsplit.evaluation.protocol import Protocol
from stemsplit.evaluation.rows import row_of
from stemsplit.evaluation.score_files import read, write
from stemsplit.evaluation.scores import METRICS, Frames, SongScores
from stemsplit.evaluation.scores import score as score_systems
from stemsplit.evaluation.song_metrics import SONG_METRICS

RATE = 2000
OTHER = "accompaniment"
PROTOCOL = Protocol("corpus", "test", ("vocals", OTHER), RATE, 1)


def score(references: Song, estimates: Song, rate: int = RATE, **protocol: Any) -> SongScores:
    """Scores of one system with the name "it"."""
    changed = replace(PROTOCOL, sample_rate=rate, **protocol)
    mixture = np.sum(list(references.values()), axis=0)
    return score_systems("song", references, {"it": estimates}, mixture, changed)["it"]


def material(
    channels: int, seconds: float = 3, rate: int = RATE, seed: int = 0
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Random references, and estimates with leakage of the other stem and noise."""
    generator = np.random.default_rng(seed)
    shape = (3, channels, int(seconds * rate))
    vocals, other, noise = 0.1 * generator.standard_normal(shape, np.float32)
    estimates = {"vocals": vocals + 0.3 * other, OTHER: other + 0.1 * vocals + 0.2 * noise}
    return {"vocals": vocals, OTHER: other}, estimates


def museval_frames(references: Song, estimates: Song, rate: int = RATE) -> Frames:
    values = museval.evaluate(
        [reference.T for reference in references.values()],
        [estimates[stem].T for stem in references],
        win=rate,
        hop=rate,
    )
    names = ("SDR", "ISR", "SIR", "SAR")
    return {
        stem: {name: scores[row].tolist() for name, scores in zip(names, values, strict=True)}
        for row, stem in enumerate(references)
    }


def assert_equal(scores: Frames, expected: Frames) -> None:
    assert scores.keys() == expected.keys()
    for stem, values in expected.items():
        assert set(scores[stem]) == set(METRICS)
        for metric in METRICS:
            # museval's scores differ in the last digits from run to run.
            np.testing.assert_allclose(scores[stem][metric], values[metric], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("channels", "rate"), [(1, RATE), (2, 8000)])
def test_scores_equal_museval(channels: int, rate: int) -> None:
    references, estimates = material(channels, 3, rate)
    scores = score(references, estimates, rate).frames
    assert_equal(scores, museval_frames(references, estimates, rate))
    assert all(len(scores[stem][metric]) == 3 for stem in scores for metric in METRICS)


@pytest.mark.parametrize("channels", [1, 2])
def test_silent_reference_is_nan_and_other_stems_are_scored(channels: int) -> None:
    references, estimates = material(channels)
    references["vocals"][:] = 0
    scores = score(references, estimates).frames
    assert all(np.isnan(scores["vocals"][metric]).all() for metric in METRICS)
    assert all(len(scores["vocals"][metric]) == 3 for metric in METRICS)
    expected = museval_frames({OTHER: references[OTHER]}, estimates)
    # With a single stem there is no interference, so SIR consists of rounding errors.
    for metric in ("SDR", "ISR", "SAR"):
        np.testing.assert_allclose(scores[OTHER][metric], expected[OTHER][metric], rtol=1e-6)


def test_silent_estimate_scores_zero_and_changes_no_other_stem() -> None:
    references, estimates = material(2)
    without_silence = score(references, estimates).frames
    estimates["vocals"][:] = 0
    scores = score(references, estimates).frames
    for metric in ("SDR", "ISR"):
        np.testing.assert_allclose(scores["vocals"][metric], 0, atol=1e-4)
    # A silent estimate has no interference or artefacts: values here would describe the noise.
    assert np.isnan([scores["vocals"][metric] for metric in ("SIR", "SAR")]).all()
    for metric in METRICS:
        np.testing.assert_allclose(scores[OTHER][metric], without_silence[OTHER][metric], rtol=1e-6)


def test_cancelling_channels_count_as_silence() -> None:
    references, estimates = material(2)
    references["vocals"][1] = -references["vocals"][0]
    scores = score(references, estimates).frames
    assert np.isnan(scores["vocals"]["SDR"]).all()
    assert np.isfinite(scores[OTHER]["SDR"]).all()


def test_silent_song_has_no_scores() -> None:
    references, estimates = material(2)
    silent = {stem: 0 * samples for stem, samples in references.items()}
    scores = score(silent, estimates).frames
    assert all(np.isnan(scores[stem][metric]).all() for stem in scores for metric in METRICS)


def test_frame_with_silent_stem_is_nan_for_all_stems() -> None:
    references, estimates = material(1)
    references["vocals"][:, RATE : 2 * RATE] = 0
    scores = score(references, estimates).frames
    assert_equal(scores, museval_frames(references, estimates))
    assert np.isnan([scores[stem]["SDR"] for stem in scores]).tolist() == [[False, True, False]] * 2


def test_equal_channels_score_like_mono() -> None:
    references, estimates = material(2, 1)
    pairs = (references, estimates)
    dual = [{"vocals": np.repeat(song["vocals"][:1], 2, axis=0)} for song in pairs]
    scores = score(*dual).frames
    mono = score(*[{"vocals": song["vocals"][:1]} for song in dual]).frames
    np.testing.assert_allclose(scores["vocals"]["SDR"], mono["vocals"]["SDR"], rtol=1e-4)


@pytest.mark.parametrize("silent", [False, True])
def test_song_shorter_than_frame_is_one_frame(silent: bool) -> None:
    references, estimates = material(1, 0.4)
    if silent:
        references["vocals"][:] = 0
    scores = score(references, estimates).frames
    assert {len(scores[stem][metric]) for stem in scores for metric in METRICS} == {1}
    assert np.isnan(scores["vocals"]["SDR"][0]) == silent
    assert np.isfinite(scores[OTHER]["SDR"][0])


def test_museval_backend_gives_same_scores() -> None:
    references, estimates = material(2, 3, 8000)
    fast = score(references, estimates, 8000)
    slow = score(references, estimates, 8000, backend="museval")
    assert_equal(fast.frames, slow.frames)
    assert slow.whole == fast.whole


def test_dropped_frames_are_counted_by_reason() -> None:
    references, estimates = material(2, 5)
    references["vocals"][:, RATE : 3 * RATE] = 0
    estimates[OTHER][:, 4 * RATE :] = 0
    scores = score(references, estimates)
    assert scores.frame_count == 5
    assert {scores.frames_scored(stem, m) for stem in scores.frames for m in METRICS} == {2}
    reasons = {"vocals: reference is silent": 2, f"{OTHER}: estimate is silent": 1}
    assert scores.dropped == reasons
    assert not scores.notes


def test_unscorable_stem_is_noted() -> None:
    references, estimates = material(2)
    references["vocals"][:] = 0
    estimates[OTHER][1] = -estimates[OTHER][0]
    scores = score(references, estimates)
    silent, cancelling = scores.notes
    assert silent == "vocals: the reference is silent; not scored"
    assert cancelling == (
        f"{OTHER}: the estimate has channels that cancel; only SDR and ISR are scored, with faint "
        "noise in its place"
    )
    assert scores.whole["vocals"] == {}
    assert scores.frames_scored("vocals", "SDR") == 0
    assert scores.frames_scored(OTHER, "SDR") == 3


@pytest.mark.parametrize("surplus", [-700, 700])
def test_differing_length_is_handled_like_museval(surplus: int) -> None:
    references, estimates = material(2)
    time = references["vocals"].shape[1]
    resized = {
        stem: np.concatenate([samples, samples], axis=1)[:, : time + surplus]
        for stem, samples in estimates.items()
    }
    scores = score(references, resized)
    assert_equal(scores.frames, museval_frames(references, resized))
    change = "longer than the reference: cut"
    if surplus < 0:
        change = "shorter than the reference: padded with silence"
    assert scores.notes == {f"{stem}: the estimate is {change}": 700 for stem in ("vocals", OTHER)}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nonfinite_estimate_raises(bad: float) -> None:
    references, estimates = material(2)
    estimates["vocals"][0, 77] = bad
    with pytest.raises(InputError, match="it, song: the estimate of vocals has 1 sample "):
        score(references, estimates)


def test_single_target_has_scores() -> None:
    references, estimates = ({"vocals": song["vocals"]} for song in material(2))
    scores = score(references, estimates)
    assert np.isfinite(scores.frames["vocals"]["SDR"]).all()


def test_infinite_score_is_dropped_and_counted() -> None:
    """An estimate that equals its reference in one frame has an infinite SDR there."""
    references, estimates = material(2)
    estimates["vocals"][:, :RATE] = references["vocals"][:, :RATE]
    scores = score(references, estimates)
    assert scores.dropped == {"vocals: SDR is infinite": 1}
    assert scores.frames_scored("vocals", "SDR") == 2
    assert scores.frames_scored(OTHER, "SDR") == 3
    row = row_of([scores], [score(references, dict.fromkeys(references, estimates[OTHER]))])
    assert row.scores["vocals"]["SDR"].frames == 2
    assert row.scores["vocals"]["SDR gain"].frames == 2
    assert row.dropped == scores.dropped


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"stemsplit": {}}', '{"stemsplit": {"identity": "identity"}}']
)
def test_damaged_score_file_is_ignored(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "song.json"
    path.write_text(damage)
    assert read(path, "identity", PROTOCOL.stems) is None


def test_score_file_with_wrong_content_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "song.json"
    write(path, score(*material(1)), PROTOCOL, "identity")
    whole = json.loads(path.read_text())
    facts = {"whole": [], "seconds": "x", "dropped": None, "notes": 3}
    for change in (
        {"targets": []},
        {"targets": whole["targets"][:1]},
        {"targets": [whole["targets"][0], whole["targets"][1] | {"frames": []}]},
        {"stemsplit": whole["stemsplit"] | {"whole": {}}},
        *({"stemsplit": whole["stemsplit"] | {name: value}} for name, value in facts.items()),
    ):
        path.write_text(json.dumps(whole | change))
        assert read(path, "identity", PROTOCOL.stems) is None, change
    path.write_text(json.dumps(whole))
    assert read(path, "identity", PROTOCOL.stems) is not None


def test_scores_without_a_new_metric_are_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "song.json"
    write(path, score(*material(1)), PROTOCOL, "identity")
    monkeypatch.setitem(SONG_METRICS, "zero", lambda reference, estimate: 0.0)
    assert read(path, "identity", PROTOCOL.stems) is None
    write(path, score(*material(1)), PROTOCOL, "identity")
    scores = read(path, "identity", PROTOCOL.stems)
    assert scores is not None
    assert scores.whole["vocals"]["zero"] == 0


def test_channel_conversion_is_noted() -> None:
    references, estimates = material(2)
    mono = {stem: samples.mean(axis=0, keepdims=True) for stem, samples in estimates.items()}
    scores = score(references, mono)
    assert set(scores.notes) == {
        f"{stem}: the estimate is mono: copied to all channels" for stem in ("vocals", OTHER)
    }
    both = score(references, {stem: np.repeat(x, 2, axis=0) for stem, x in mono.items()})
    np.testing.assert_equal(scores.frames, both.frames)
    mono_references = {stem: samples[:1] for stem, samples in references.items()}
    notes = score(mono_references, estimates).notes
    assert "vocals: the estimate is mixed down to mono" in notes


def test_score_file_round_trips_and_museval_reads_it(tmp_path: Path) -> None:
    references, estimates = material(1, 5)
    references["vocals"][:, :RATE] = 0
    scores = score(references, estimates)
    path = tmp_path / "test" / "song.json"
    write(path, scores, PROTOCOL, "identity")
    again = read(path, "identity", PROTOCOL.stems)
    assert again is not None
    for stem, metrics in scores.frames.items():
        for metric, values in metrics.items():
            np.testing.assert_allclose(again.frames[stem][metric], values, atol=1e-5)
    assert (again.dropped, again.notes, again.seconds) == (scores.dropped, scores.notes, 5.0)
    for stem, metrics in scores.whole.items():
        assert again.whole[stem] == pytest.approx(metrics, abs=1e-10, nan_ok=True)
    assert read(path, "another identity", PROTOCOL.stems) is None
    assert read(path, "identity", ("vocals",)) is None
    assert read(tmp_path / "nothing.json", "identity", PROTOCOL.stems) is None
    store = museval.EvalStore()
    store.add_eval_dir(tmp_path)
    assert set(store.df["target"]) == {"vocals", OTHER}
