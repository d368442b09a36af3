"""Scores are museval's, also where museval itself gives up; and what was done is noted."""

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
from stemsplit.evaluation.score_files import read, write
from stemsplit.evaluation.scores import METRICS, Frames, SongScores
from stemsplit.evaluation.scores import score as score_systems
from stemsplit.evaluation.song_metrics import SONG_METRICS
from stemsplit.evaluation.tables import row_of

RATE = 2000
OTHER = "accompaniment"
PROTOCOL = Protocol("corpus", "test", ("vocals", OTHER), RATE, 1)


def score(references: Song, estimates: Song, rate: int = RATE, **protocol: Any) -> SongScores:
    """Of one system, called "it"."""
    how = replace(PROTOCOL, sample_rate=rate, **protocol)
    mixture = np.sum(list(references.values()), axis=0)
    return score_systems("song", references, {"it": estimates}, mixture, how)["it"]


def material(
    channels: int, seconds: float = 3, rate: int = RATE, seed: int = 0
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """References, and estimates into which the other stem leaks, and some noise."""
    generator = np.random.default_rng(seed)
    shape = (3, channels, int(seconds * rate))
    vocals, other, noise = 0.1 * generator.standard_normal(shape, np.float32)
    estimates = {"vocals": vocals + 0.3 * other, OTHER: other + 0.1 * vocals + 0.2 * noise}
    return {"vocals": vocals, OTHER: other}, estimates


def musevals(references: Song, estimates: Song, rate: int = RATE) -> Frames:
    values = museval.evaluate(
        [reference.T for reference in references.values()],
        [estimates[stem].T for stem in references],
        win=rate,
        hop=rate,
    )
    names = ("SDR", "ISR", "SIR", "SAR")
    return {
        stem: {name: found[row].tolist() for name, found in zip(names, values, strict=True)}
        for row, stem in enumerate(references)
    }


def assert_equal(found: Frames, expected: Frames) -> None:
    assert found.keys() == expected.keys()
    for stem, values in expected.items():
        assert set(found[stem]) == set(METRICS)
        for metric in METRICS:
            # museval's own figures differ in the last digits from one run to the next.
            np.testing.assert_allclose(found[stem][metric], values[metric], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("channels", "rate"), [(1, RATE), (2, 8000)])
def test_scores_are_musevals(channels: int, rate: int) -> None:
    references, estimates = material(channels, 3, rate)
    found = score(references, estimates, rate).frames
    assert_equal(found, musevals(references, estimates, rate))
    assert all(len(found[stem][metric]) == 3 for stem in found for metric in METRICS)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_silent_reference_is_nan_and_the_others_are_scored_without_it(channels: int) -> None:
    references, estimates = material(channels)
    references["vocals"][:] = 0
    found = score(references, estimates).frames
    assert all(np.isnan(found["vocals"][metric]).all() for metric in METRICS)
    assert all(len(found["vocals"][metric]) == 3 for metric in METRICS)
    expected = musevals({OTHER: references[OTHER]}, estimates)
    # With nothing to interfere, SIR is rounding errors.
    for metric in ("SDR", "ISR", "SAR"):
        np.testing.assert_allclose(found[OTHER][metric], expected[OTHER][metric], rtol=1e-6)


def test_a_silent_estimate_misses_all_of_its_stem_and_changes_no_other_score() -> None:
    references, estimates = material(2)
    whole = score(references, estimates).frames
    estimates["vocals"][:] = 0
    found = score(references, estimates).frames
    for metric in ("SDR", "ISR"):
        np.testing.assert_allclose(found["vocals"][metric], 0, atol=1e-4)
    # What is not there interferes with nothing; whatever stood here would be the noise's.
    assert np.isnan([found["vocals"][metric] for metric in ("SIR", "SAR")]).all()
    for metric in METRICS:
        np.testing.assert_allclose(found[OTHER][metric], whole[OTHER][metric], rtol=1e-6)


def test_channels_that_cancel_are_silence_as_museval_has_it() -> None:
    references, estimates = material(2)
    references["vocals"][1] = -references["vocals"][0]
    found = score(references, estimates).frames
    assert np.isnan(found["vocals"]["SDR"]).all()
    assert np.isfinite(found[OTHER]["SDR"]).all()


def test_a_song_of_silence_has_no_scores() -> None:
    references, estimates = material(2)
    silent = {stem: 0 * samples for stem, samples in references.items()}
    found = score(silent, estimates).frames
    assert all(np.isnan(found[stem][metric]).all() for stem in found for metric in METRICS)


def test_a_frame_in_which_a_stem_rests_is_nan_for_all() -> None:
    references, estimates = material(1)
    references["vocals"][:, RATE : 2 * RATE] = 0
    found = score(references, estimates).frames
    assert_equal(found, musevals(references, estimates))
    assert np.isnan([found[stem]["SDR"] for stem in found]).tolist() == [[False, True, False]] * 2


def test_two_equal_channels_are_scored() -> None:
    references, estimates = material(2, 1)
    pairs = (references, estimates)
    dual = [{"vocals": np.repeat(song["vocals"][:1], 2, axis=0)} for song in pairs]
    found = score(*dual).frames
    mono = score(*[{"vocals": song["vocals"][:1]} for song in dual]).frames
    np.testing.assert_allclose(found["vocals"]["SDR"], mono["vocals"]["SDR"], rtol=1e-4)


@pytest.mark.parametrize("silent", [False, True])
def test_a_song_shorter_than_a_frame_is_one_frame(silent: bool) -> None:
    references, estimates = material(1, 0.4)
    if silent:
        references["vocals"][:] = 0
    found = score(references, estimates).frames
    assert {len(found[stem][metric]) for stem in found for metric in METRICS} == {1}
    assert np.isnan(found["vocals"]["SDR"][0]) == silent
    assert np.isfinite(found[OTHER]["SDR"][0])


def test_museval_itself_can_be_asked() -> None:
    references, estimates = material(2, 3, 8000)
    fast = score(references, estimates, 8000)
    slow = score(references, estimates, 8000, backend="museval")
    assert_equal(fast.frames, slow.frames)
    assert slow.whole == fast.whole


def test_dropped_frames_are_counted_by_their_reasons() -> None:
    references, estimates = material(2, 5)
    references["vocals"][:, RATE : 3 * RATE] = 0
    estimates[OTHER][:, 4 * RATE :] = 0
    found = score(references, estimates)
    assert found.frame_count == 5
    assert {found.frames_scored(stem, m) for stem in found.frames for m in METRICS} == {2}
    reasons = {"vocals: reference is silent": 2, f"{OTHER}: estimate is silent": 1}
    assert found.dropped == reasons
    assert not found.notes


def test_a_stem_that_cannot_be_scored_is_noted() -> None:
    references, estimates = material(2)
    references["vocals"][:] = 0
    estimates[OTHER][1] = -estimates[OTHER][0]
    found = score(references, estimates)
    silent, cancelling = found.notes
    assert silent == "vocals: the reference is silent; not scored"
    assert cancelling.startswith(f"{OTHER}: the estimate has channels that cancel; its SDR and ISR")
    assert found.whole["vocals"] == {}
    assert found.frames_scored("vocals", "SDR") == 0
    assert found.frames_scored(OTHER, "SDR") == 3


@pytest.mark.parametrize("longer", [-700, 700])
def test_estimates_of_another_length_are_scored_as_museval_does_it(longer: int) -> None:
    references, estimates = material(2)
    time = references["vocals"].shape[1]
    other = {
        stem: np.concatenate([samples, samples], axis=1)[:, : time + longer]
        for stem, samples in estimates.items()
    }
    found = score(references, other)
    assert_equal(found.frames, musevals(references, other))
    done = "longer than the reference: cut" if longer > 0 else "shorter: silence is added"
    assert found.notes == {f"{stem}: the estimate is {done}": 700 for stem in ("vocals", OTHER)}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_estimate_that_is_not_finite_is_an_error(bad: float) -> None:
    references, estimates = material(2)
    estimates["vocals"][0, 77] = bad
    with pytest.raises(InputError, match="it, song: the estimate of vocals has 1 samples"):
        score(references, estimates)


def test_a_single_target_has_scores_where_museval_has_none() -> None:
    references, estimates = ({"vocals": song["vocals"]} for song in material(2))
    found = score(references, estimates)
    assert np.isfinite(found.frames["vocals"]["SDR"]).all()


def test_an_infinite_score_is_left_out_and_counted() -> None:
    """A perfect estimate, as where a song has nothing but accompaniment."""
    references, estimates = material(2)
    estimates["vocals"][:, :RATE] = references["vocals"][:, :RATE]
    found = score(references, estimates)
    assert found.dropped == {"vocals: SDR is infinite": 1}
    assert found.frames_scored("vocals", "SDR") == 2
    assert found.frames_scored(OTHER, "SDR") == 3
    row = row_of([found], [score(references, dict.fromkeys(references, estimates[OTHER]))])
    assert row.scores["vocals"]["SDR"].frames == 2
    assert row.scores["vocals"]["SDR gain"].frames == 2
    assert row.dropped == found.dropped


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"stemsplit": {}}', '{"stemsplit": {"identity": "identity"}}']
)
def test_a_damaged_file_counts_as_none(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "song.json"
    path.write_text(damage)
    assert read(path, "identity", PROTOCOL.stems) is None


def test_a_file_of_wrong_content_counts_as_none(tmp_path: Path) -> None:
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
    found = read(path, "identity", PROTOCOL.stems)
    assert found is not None
    assert found.whole["vocals"]["zero"] == 0


def test_channels_are_made_to_fit_and_that_is_noted() -> None:
    references, estimates = material(2)
    mono = {stem: samples.mean(axis=0, keepdims=True) for stem, samples in estimates.items()}
    found = score(references, mono)
    assert set(found.notes) == {
        f"{stem}: the estimate is mono: given to all channels" for stem in ("vocals", OTHER)
    }
    both = score(references, {stem: np.repeat(x, 2, axis=0) for stem, x in mono.items()})
    np.testing.assert_equal(found.frames, both.frames)
    one = {stem: samples[:1] for stem, samples in references.items()}
    assert "vocals: the estimate is mixed down to mono" in score(one, estimates).notes


def test_a_file_is_musevals_and_holds_the_rest(tmp_path: Path) -> None:
    references, estimates = material(1, 5)
    references["vocals"][:, :RATE] = 0
    found = score(references, estimates)
    path = tmp_path / "test" / "song.json"
    write(path, found, PROTOCOL, "identity")
    again = read(path, "identity", PROTOCOL.stems)
    assert again is not None
    for stem, metrics in found.frames.items():
        for metric, values in metrics.items():
            np.testing.assert_allclose(again.frames[stem][metric], values, atol=1e-5)
    assert (again.dropped, again.notes, again.seconds) == (found.dropped, found.notes, 5.0)
    assert again.whole == found.whole
    assert read(path, "another identity", PROTOCOL.stems) is None
    assert read(path, "identity", ("vocals",)) is None
    assert read(tmp_path / "nothing.json", "identity", PROTOCOL.stems) is None
    store = museval.EvalStore()
    store.add_eval_dir(tmp_path)
    assert set(store.df["target"]) == {"vocals", OTHER}
