"""Evaluations: of every system by the same measure, gone on with, and shared by processes."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import museval
import numpy as np
import pytest
import soundfile

from stemsplit.checkpoint import build, save
from stemsplit.data.stored import StoredTrack
from stemsplit.errors import InputError
from stemsplit.evaluation import runner
from stemsplit.evaluation.oracles import ORACLES
from stemsplit.evaluation.protocol import Protocol, for_scenario
from stemsplit.evaluation.runner import evaluate
from stemsplit.evaluation.scores import METRICS
from stemsplit.evaluation.systems import (
    Folder,
    Mixture,
    Oracle,
    Resampled,
    System,
    Trained,
    references_of,
)
from stemsplit.evaluation.tables import row_of
from stemsplit.features import FrontEnd

RATE = 4000
OTHER = "accompaniment"
PROTOCOL = Protocol("corpus", "test", ("vocals", OTHER), RATE, 1)
SETTINGS = {"sample_rate": RATE, "window": 256, "hop": 64, "mel_bands": 16, "mfccs": 4}


@pytest.fixture
def tracks(tmp_path: Path) -> list[StoredTrack]:
    """Three mono songs of three stems, 3 s long; the last is without vocals."""
    tracks = []
    for number in range(3):
        random = np.random.default_rng(number)
        stems = 0.1 * random.standard_normal((3, 1, 3 * RATE)).astype(np.float32)
        # The stems differ, so that leaving one out of the reference would show.
        stems *= np.array([0.0 if number == 2 else 1.0, 0.5, 2.0], np.float32)[:, None, None]
        folder = tmp_path / "store" / f"song{number}"
        folder.mkdir(parents=True)
        np.save(folder / "samples.npy", np.concatenate([stems.sum(axis=0, keepdims=True), stems]))
        names = ("vocals", "bass", "drums")
        tracks.append(StoredTrack(f"song {number}", "test", names, folder, RATE, 1.0))
    return tracks


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    network = {"class": "stemsplit.models.mlp.Mlp", "hidden": 8}
    save(build(SETTINGS, network, ["vocals"], OTHER, 1), tmp_path / "mlp.ckpt")
    return tmp_path / "mlp.ckpt"


def write_estimates(
    root: Path, tracks: list[StoredTrack], change: Callable[[np.ndarray], np.ndarray]
) -> Path:
    """A folder as museval has it, of the true stems changed."""
    for track in tracks:
        for stem, samples in references_of(track, PROTOCOL.stems).items():
            path = root / "test" / track.name / f"{stem}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, change(samples).T, RATE, "FLOAT")
    return root


def noisy(samples: np.ndarray) -> np.ndarray:
    return samples + 0.05 * np.random.default_rng(0).standard_normal(samples.shape)


def systems(tmp_path: Path, tracks: list[StoredTrack], checkpoint: Path) -> list[System]:
    estimates = write_estimates(tmp_path / "a tool", tracks, noisy)
    front_end = FrontEnd(**SETTINGS)
    return [
        Mixture(),
        *(Oracle(name, front_end) for name in ORACLES),
        Resampled(RATE // 2),
        Trained("mlp", checkpoint),
        Trained("mlp, mask only", checkpoint, wiener_iterations=0),
        Folder(estimates),
    ]


def test_every_system_is_scored_by_the_same_measure(
    tmp_path: Path, tracks: list[StoredTrack], checkpoint: Path
) -> None:
    given = systems(tmp_path, tracks, checkpoint)
    folder = tmp_path / "museval"
    found = evaluate(given, tracks, PROTOCOL, folder)
    assert list(found) == [system.name for system in given]
    rows = {name: row_of(songs) for name, songs in found.items()}
    for name, row in rows.items():
        assert (row.songs, row.of) == (3, 9)
        assert set(row.scores) == {"vocals", OTHER}
        store = museval.EvalStore()
        store.add_eval_dir(folder / name)
        medians = store.agg_frames_tracks_scores()
        for stem, metrics in row.scores.items():
            for metric in METRICS:
                median = metrics[metric].median
                assert median == pytest.approx(medians[stem][metric], abs=2e-5, nan_ok=True)
    sdr = {name: row.scores["vocals"]["SDR"].median for name, row in rows.items()}
    assert sdr["a tool"] == pytest.approx(20 * np.log10(0.1 / 0.05), abs=0.3)
    assert all(sdr[name] > sdr["mixture"] + 3 for name in ORACLES)
    assert rows["mixture"].scores["vocals"]["GNSDR"].median == pytest.approx(0, abs=1e-9)
    assert rows["mixture"].notes == {"vocals: the reference is silent; not scored": 1}
    record = json.loads((folder / "a tool/test/song 0.json").read_text())["stemsplit"]
    assert record["protocol"]["scenario"] == "vocals and accompaniment"
    assert record["protocol"]["tag"].startswith("corpus test, vocals and accompaniment, BSS Eval")


def test_an_evaluation_goes_on_where_it_was_broken_off(
    tmp_path: Path, tracks: list[StoredTrack], checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = systems(tmp_path, tracks, checkpoint)
    folder = tmp_path / "museval"
    evaluate(given[:2], tracks[:2], PROTOCOL, folder)
    scored: list[tuple[str, tuple[str, ...]]] = []
    real = runner.score

    def score(track: str, references: object, estimates: dict, *rest: object) -> object:
        scored.append((track, tuple(estimates)))
        return real(track, references, estimates, *rest)

    monkeypatch.setattr(runner, "score", score)
    first = evaluate(given[:2], tracks, PROTOCOL, folder)
    assert scored == [("song 2", ("mixture", "IRM1"))]
    scored.clear()
    again = evaluate(given[:2], tracks, PROTOCOL, folder)
    assert not scored
    np.testing.assert_equal(again, first)
    # Another protocol, and other estimates of one song, are other scores.
    evaluate(given[:1], tracks[:1], replace(PROTOCOL, corpus="another"), folder)
    assert scored == [("song 0", ("mixture",))]
    tool = given[-1:]
    evaluate(tool, tracks, PROTOCOL, folder)
    scored.clear()
    write_estimates(tmp_path / "a tool", tracks[1:2], lambda samples: 0.5 * samples)
    evaluate(tool, tracks, PROTOCOL, folder)
    assert scored == [("song 1", ("a tool",))]


def test_worker_processes_find_the_same(
    tmp_path: Path, tracks: list[StoredTrack], checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = systems(tmp_path, tracks, checkpoint)
    alone = evaluate(given, tracks, PROTOCOL, tmp_path / "alone")
    monkeypatch.setattr(runner, "WORKER_PAYS", 1.0)
    helped = evaluate(given, tracks, PROTOCOL, tmp_path / "helped", workers=2)
    for name, songs in alone.items():
        for one, other in zip(songs, helped[name], strict=True):
            for stem, metrics in one.frames.items():
                for metric, values in metrics.items():
                    np.testing.assert_allclose(other.frames[stem][metric], values, atol=1e-3)


def test_estimates_that_are_not_there_are_named(tmp_path: Path, tracks: list[StoredTrack]) -> None:
    root = write_estimates(tmp_path / "a tool", tracks[:2], noisy)
    with pytest.raises(InputError, match=r"test/song 2: no wav files.*SUBSET/TRACK/STEM\.wav"):
        evaluate([Folder(root)], tracks, PROTOCOL, tmp_path / "museval")
    assert not (tmp_path / "museval").exists()  # said before anything was scored
    with pytest.raises(InputError, match="nowhere: there is no such folder"):
        Folder(tmp_path / "nowhere")
    (root / "test/song 1/accompaniment.wav").unlink()
    with pytest.raises(InputError, match="a tool, song 1: no accompaniment among the stems"):
        evaluate([Folder(root)], tracks[:2], PROTOCOL, tmp_path / "museval")
    soundfile.write(root / "test/song 0/vocals.wav", np.zeros(9), 8000)
    with pytest.raises(InputError, match=r"vocals\.wav: has 8000 Hz, the references 4000 Hz"):
        evaluate([Folder(root)], tracks[:1], PROTOCOL, tmp_path / "museval")


def test_estimates_with_numbers_that_are_none_are_named(
    tmp_path: Path, tracks: list[StoredTrack]
) -> None:
    class Broken(Mixture):
        name = "broken"

        def separate(self, track: StoredTrack, references: dict) -> dict:
            return {stem: np.full_like(samples, np.nan) for stem, samples in references.items()}

    with pytest.raises(InputError, match="broken, song 0: the estimate of vocals has 12000"):
        evaluate([Broken()], tracks, PROTOCOL, tmp_path / "museval")


def test_another_backend_is_refused() -> None:
    with pytest.raises(InputError, match=r"backend=nonsense is none of \('stemsplit', 'museval'\)"):
        replace(PROTOCOL, backend="nonsense")


def test_systems_need_names_of_their_own(tmp_path: Path, tracks: list[StoredTrack]) -> None:
    with pytest.raises(InputError, match="need different names"):
        evaluate([Mixture(), Mixture()], tracks, PROTOCOL, tmp_path / "museval")


def test_what_a_scenario_is_made_of() -> None:
    assert for_scenario(["drums", "bass", "vocals"], ["vocals", OTHER]) == {
        "vocals": ["vocals"],
        OTHER: ["drums", "bass"],
    }
    assert for_scenario([OTHER, "vocals"], ["vocals", OTHER])[OTHER] == [OTHER]
    with pytest.raises(InputError, match="no bass among"):
        for_scenario(["vocals", "drums"], ["bass"])


@pytest.mark.parametrize(
    ("stems", "scenario"),
    [
        (("vocals", OTHER), "vocals and accompaniment"),
        (("vocals", "drums", "bass", "other"), "four stems"),
        (("piano", "residual"), "piano + residual"),
    ],
)
def test_a_scenario_has_a_name(stems: tuple[str, ...], scenario: str) -> None:
    assert replace(PROTOCOL, stems=stems).scenario == scenario
    assert scenario in str(replace(PROTOCOL, stems=stems))
