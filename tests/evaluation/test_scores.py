"""Scores are museval's, also where museval itself gives up."""

from pathlib import Path
from typing import NamedTuple

import museval
import numpy as np
import pytest
import torch
from torch import nn

from stemsplit.data.store import StoredTrack
from stemsplit.evaluation import scores
from stemsplit.evaluation.scores import METRICS, Frames, Song, Table, evaluate, score
from stemsplit.features import FrontEnd
from stemsplit.separator import Separator
from stemsplit.shapes import Mask, Views

RATE = 2000
OTHER = "accompaniment"


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
    found = score(references, estimates, rate)
    assert_equal(found, musevals(references, estimates, rate))
    assert all(len(found[stem][metric]) == 3 for stem in found for metric in METRICS)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_silent_reference_is_nan_and_the_others_are_scored_without_it(channels: int) -> None:
    references, estimates = material(channels)
    references["vocals"][:] = 0
    found = score(references, estimates, RATE)
    assert all(np.isnan(found["vocals"][metric]).all() for metric in METRICS)
    assert all(len(found["vocals"][metric]) == 3 for metric in METRICS)
    expected = musevals({OTHER: references[OTHER]}, estimates)
    # With nothing to interfere, SIR is rounding errors.
    for metric in ("SDR", "ISR", "SAR"):
        np.testing.assert_allclose(found[OTHER][metric], expected[OTHER][metric], rtol=1e-6)


def test_a_silent_estimate_misses_all_of_its_stem_and_changes_no_other_score() -> None:
    references, estimates = material(2)
    whole = score(references, estimates, RATE)
    estimates["vocals"][:] = 0
    found = score(references, estimates, RATE)
    np.testing.assert_allclose(found["vocals"]["SDR"], 0, atol=1e-4)
    for metric in METRICS:
        np.testing.assert_allclose(found[OTHER][metric], whole[OTHER][metric], rtol=1e-6)


def test_channels_that_cancel_are_silence_as_museval_has_it() -> None:
    references, estimates = material(2)
    references["vocals"][1] = -references["vocals"][0]
    found = score(references, estimates, RATE)
    assert np.isnan(found["vocals"]["SDR"]).all()
    assert np.isfinite(found[OTHER]["SDR"]).all()


def test_a_song_of_silence_has_no_scores() -> None:
    references, estimates = material(2)
    found = score({stem: 0 * samples for stem, samples in references.items()}, estimates, RATE)
    assert all(np.isnan(found[stem][metric]).all() for stem in found for metric in METRICS)


def test_a_frame_in_which_a_stem_rests_is_nan_for_all() -> None:
    references, estimates = material(1)
    references["vocals"][:, RATE : 2 * RATE] = 0
    found = score(references, estimates, RATE)
    assert_equal(found, musevals(references, estimates))
    assert np.isnan([found[stem]["SDR"] for stem in found]).tolist() == [[False, True, False]] * 2


def test_two_equal_channels_are_scored() -> None:
    references, estimates = material(2, 1)
    pairs = (references, estimates)
    dual = [{"vocals": np.repeat(song["vocals"][:1], 2, axis=0)} for song in pairs]
    found = score(*dual, RATE)
    mono = score(*[{"vocals": song["vocals"][:1]} for song in dual], RATE)
    np.testing.assert_allclose(found["vocals"]["SDR"], mono["vocals"]["SDR"], rtol=1e-4)


@pytest.mark.parametrize("silent", [False, True])
def test_a_song_shorter_than_a_frame_is_one_frame(silent: bool) -> None:
    references, estimates = material(1, 0.4)
    if silent:
        references["vocals"][:] = 0
    found = score(references, estimates, RATE)
    assert {len(found[stem][metric]) for stem in found for metric in METRICS} == {1}
    assert np.isnan(found["vocals"]["SDR"][0]) == silent
    assert np.isfinite(found[OTHER]["SDR"][0])


class Half(nn.Module):
    """A mask that gives the target half of everything."""

    views = ("magnitude",)

    def __init__(self) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.tensor(0.5))

    def forward(self, views: Views) -> Mask:
        return self.share * torch.ones_like(views["magnitude"])[:, None]


@pytest.fixture(scope="module")
def separator() -> Separator:
    front_end = FrontEnd(RATE, 256, 64, mel_bands=16, mfccs=4)
    return Separator(front_end, Half(), ["vocals"], OTHER, channels=1, wiener_iterations=0)


def stored(folder: Path, number: int, silent: bool = False) -> StoredTrack:
    """A mono song of three stems, 2 s long."""
    generator = np.random.default_rng(number)
    stems = 0.1 * generator.standard_normal((3, 1, 2 * RATE)).astype(np.float32)
    # The stems differ, so that leaving one out of the reference would show.
    stems *= np.array([0.0 if silent else 1.0, 0.5, 2.0], np.float32)[:, None, None]
    folder = folder / f"song{number}"
    folder.mkdir()
    np.save(folder / "samples.npy", np.concatenate([stems.sum(axis=0, keepdims=True), stems]))
    return StoredTrack(f"song {number}", "test", ("vocals", "bass", "drums"), folder, RATE, 1.0)


class Evaluated(NamedTuple):
    folder: Path
    tracks: list[StoredTrack]
    table: Table


@pytest.fixture(scope="module")
def evaluated(separator: Separator, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    folder = tmp_path_factory.mktemp("scores")
    tracks = [stored(folder, number, silent=number == 2) for number in range(3)]
    return Evaluated(folder, tracks, evaluate(separator, tracks, "half", folder, workers=2))


def test_a_table_has_the_system_and_the_mixture(evaluated: Evaluated) -> None:
    table = evaluated.table
    assert set(table) == {"mixture", "half"}
    for row in table.values():
        assert set(row) == {"vocals", OTHER}
        assert all(set(metrics) == set(METRICS) for metrics in row.values())
    for row in table:
        files = sorted(path.name for path in (evaluated.folder / row / "test").iterdir())
        assert files == [f"song {number}.json" for number in range(3)]


@pytest.mark.parametrize("row", ["mixture", "half"])
@pytest.mark.parametrize("metric", METRICS)
def test_medians_are_eval_stores(evaluated: Evaluated, row: str, metric: str) -> None:
    store = museval.EvalStore()
    store.add_eval_dir(evaluated.folder / row)
    medians = store.agg_frames_tracks_scores()
    for stem, metrics in evaluated.table[row].items():
        # museval's files have five decimals.
        assert metrics[metric].median == pytest.approx(medians[stem][metric], abs=2e-5)


def test_the_estimates_are_the_separators_and_the_references_the_tracks(
    evaluated: Evaluated,
) -> None:
    vocals, others = [], []
    for track in evaluated.tracks[:2]:
        rest = track.read("bass") + track.read("drums")
        references = {"vocals": track.read("vocals"), OTHER: rest}
        # Half of the mixture, to either stem.
        frames = score(references, dict.fromkeys(references, 0.5 * track.mixture()), RATE)
        vocals.append(np.median(frames["vocals"]["SDR"]))
        others.append(np.median(frames[OTHER]["SDR"]))
    # The third song has no vocals, so the first two make the median.
    found = evaluated.table["half"]
    assert found["vocals"]["SDR"].median == pytest.approx(np.median(vocals), abs=1e-3)
    assert min(others) - 1e-3 <= found[OTHER]["SDR"].high


def test_an_error_while_scoring_is_raised(
    separator: Separator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: object) -> Frames:
        raise np.linalg.LinAlgError("singular")

    monkeypatch.setattr(scores, "score", fails)
    # More songs than may wait at a time.
    tracks = [stored(tmp_path, number) for number in range(5)]
    with pytest.raises(np.linalg.LinAlgError, match="singular"):
        evaluate(separator, tracks, "half", tmp_path, workers=1)
