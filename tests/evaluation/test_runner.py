"""Evaluations: scores of all kinds of systems, resuming, worker processes, errors."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import museval
import numpy as np
import pytest
import soundfile
import torch

from stemsplit.data.store.stored import StoredTrack
from stemsplit.errors import InputError
from stemsplit.evaluation import runner
from stemsplit.evaluation.estimates import Folder
from stemsplit.evaluation.oracles import ORACLES
from stemsplit.evaluation.protocol import Protocol, for_scenario
from stemsplit.evaluation.rows import rows_of
from stemsplit.evaluation.runner import evaluate
from stemsplit.evaluation.scores import METRICS
from stemsplit.evaluation.systems import (
    Mixture,
    Oracle,
    Resampled,
    System,
    Trained,
    loaded,
    references_of,
)
from stemsplit.separation.checkpoint import build, save
from stemsplit.separation.front_end import FrontEnd

RATE = 4000
OTHER = "accompaniment"
PROTOCOL = Protocol("corpus", "test", ("vocals", OTHER), RATE, 1)
SETTINGS = {"sample_rate": RATE, "window": 256, "hop": 64, "mel_bands": 16, "mfccs": 4}


@pytest.fixture
def tracks(tmp_path: Path) -> list[StoredTrack]:
    """Three mono songs of 3 s with three stems; the vocals of the last song are silent."""
    tracks = []
    for number in range(3):
        random = np.random.default_rng(number)
        stems = 0.1 * random.standard_normal((3, 1, 3 * RATE)).astype(np.float32)
        # The stems have different levels, so a stem missing from a sum changes the scores.
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
    """Write the true stems, altered by `change`, in museval's layout."""
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


def test_tables_equal_museval_for_every_system(
    tmp_path: Path, tracks: list[StoredTrack], checkpoint: Path
) -> None:
    all_systems = systems(tmp_path, tracks, checkpoint)
    folder = tmp_path / "museval"
    scores = evaluate(all_systems, tracks, PROTOCOL, folder)
    assert list(scores) == [system.name for system in all_systems]
    rows = rows_of(scores, "mixture")
    [scenario_folder] = folder.iterdir()
    assert scenario_folder.name.startswith(f"vocals-{OTHER}-")
    for name, row in rows.items():
        assert (row.songs, row.frames) == (3, 9)
        assert set(row.scores) == {"vocals", OTHER}
        store = museval.EvalStore()
        store.add_eval_dir(scenario_folder / name)
        medians = store.agg_frames_tracks_scores()
        for stem, metrics in row.scores.items():
            for metric in METRICS:
                median = metrics[metric].value
                assert median == pytest.approx(medians[stem][metric], abs=2e-5, nan_ok=True)
    sdr = {name: row.scores["vocals"]["SDR"].value for name, row in rows.items()}
    assert sdr["a tool"] == pytest.approx(20 * np.log10(0.1 / 0.05), abs=0.3)
    assert all(sdr[name] > sdr["mixture"] + 3 for name in ORACLES)
    assert rows["mixture"].scores["vocals"]["GNSDR"].value == pytest.approx(0, abs=1e-9)
    assert rows["mixture"].notes == {"vocals: the reference is silent; not scored": 1}
    record = json.loads((scenario_folder / "a tool/test/song 0.json").read_text())["stemsplit"]
    assert record["protocol"]["scenario"] == "vocals and accompaniment"
    assert record["protocol"]["tag"].startswith("corpus test, vocals and accompaniment, BSS Eval")


def test_interrupted_evaluation_resumes(
    tmp_path: Path, tracks: list[StoredTrack], checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_systems = systems(tmp_path, tracks, checkpoint)
    folder = tmp_path / "museval"
    scored: list[tuple[str, tuple[str, ...]]] = []
    real = runner.score

    def score(track: str, references: object, estimates: dict, *rest: object) -> object:
        if track == stops_at:
            raise KeyboardInterrupt
        scored.append((track, tuple(estimates)))
        return real(track, references, estimates, *rest)

    monkeypatch.setattr(runner, "score", score)
    stops_at = "song 2"
    with pytest.raises(KeyboardInterrupt):
        evaluate(all_systems[:2], tracks, PROTOCOL, folder)
    stops_at = ""
    scored.clear()
    first = evaluate(all_systems[:2], tracks, PROTOCOL, folder)
    assert scored == [("song 2", ("mixture", "IRM1"))]
    scored.clear()
    again = evaluate(all_systems[:2], tracks, PROTOCOL, folder)
    assert not scored
    np.testing.assert_equal(again, first)
    # A damaged file is scored anew.
    [path] = folder.glob("*/mixture/test/song 1.json")
    path.write_text(path.read_text()[:100])
    np.testing.assert_equal(evaluate(all_systems[:2], tracks, PROTOCOL, folder), first)
    assert scored == [("song 1", ("mixture",))]
    # Another protocol is scored anew, and so is a song whose estimates have changed.
    scored.clear()
    evaluate(all_systems[:1], tracks, replace(PROTOCOL, corpus="another"), folder)
    assert len(scored) == 3
    folder_system = all_systems[-1:]
    evaluate(folder_system, tracks, PROTOCOL, folder)
    scored.clear()
    write_estimates(tmp_path / "a tool", tracks[1:2], lambda samples: 0.5 * samples)
    evaluate(folder_system, tracks, PROTOCOL, folder)
    assert scored == [("song 1", ("a tool",))]


def test_each_folder_holds_scores_of_one_scenario_only(
    tmp_path: Path, tracks: list[StoredTrack], monkeypatch: pytest.MonkeyPatch
) -> None:
    """museval's EvalStore reads every file of a folder."""
    folder = tmp_path / "museval"
    two = evaluate([Mixture()], tracks, PROTOCOL, folder)["mixture"]
    three = replace(PROTOCOL, stems=("vocals", "bass", "drums"))
    evaluate([Mixture()], tracks, three, folder)
    evaluate([Mixture()], tracks[:1], PROTOCOL, folder)
    places = sorted(folder.iterdir())
    assert [place.name.rpartition("-")[0] for place in places] == [
        "vocals-accompaniment",
        "vocals-accompaniment",
        "vocals-bass-drums",
    ]
    sizes = sorted(len(list(place.rglob("*.json"))) for place in places)
    assert sizes == [1, 3, 3]
    assert [song.track for song in two] == [track.name for track in tracks]

    # All outdated files of a changed system are removed, even if the scoring stops at once.
    class Changed(Mixture):
        def identity(self, track: StoredTrack) -> str:
            return "changed"

    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "score", stop)
    with pytest.raises(KeyboardInterrupt):
        evaluate([Changed()], tracks, PROTOCOL, folder)
    sizes = sorted(len(list(place.rglob("*.json"))) for place in places)
    assert sizes == [0, 1, 3]


def test_worker_processes_give_same_scores(
    tmp_path: Path, tracks: list[StoredTrack], checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_systems = systems(tmp_path, tracks, checkpoint)
    serial = evaluate(all_systems, tracks, PROTOCOL, tmp_path / "serial")
    monkeypatch.setattr(runner, "SECONDS_PER_WORKER", 1.0)
    parallel = evaluate(all_systems, tracks, PROTOCOL, tmp_path / "parallel", workers=2)
    for name, songs in serial.items():
        for song, same_song in zip(songs, parallel[name], strict=True):
            for stem, metrics in song.frames.items():
                for metric, values in metrics.items():
                    np.testing.assert_allclose(same_song.frames[stem][metric], values, atol=1e-3)


def test_missing_or_unfit_estimates_raise_before_scoring(
    tmp_path: Path, tracks: list[StoredTrack]
) -> None:
    root = write_estimates(tmp_path / "a tool", tracks[:2], noisy)
    with pytest.raises(InputError, match=r"test/song 2: no wav files.*SUBSET/TRACK/STEM\.wav"):
        evaluate([Folder(root)], tracks, PROTOCOL, tmp_path / "museval")
    assert not (tmp_path / "museval").exists()  # nothing was scored before the error
    with pytest.raises(InputError, match="nowhere: the folder of estimates does not exist"):
        Folder(tmp_path / "nowhere")
    (root / "test/song 1/accompaniment.wav").unlink()
    with pytest.raises(
        InputError,
        match=r"a tool, song 1: there is no accompaniment\.wav, .* missing: bass, drums",
    ):
        evaluate([Folder(root)], tracks[:2], PROTOCOL, tmp_path / "museval")
    for part in ("bass", "drums", "guitar1"):
        soundfile.write(root / f"test/song 1/{part}.wav", np.zeros(9), RATE)
    with pytest.raises(InputError, match=r"not stems of the corpus .*: guitar1; write"):
        evaluate([Folder(root)], tracks[:2], PROTOCOL, tmp_path / "museval")
    (root / "test/song 1/guitar1.wav").unlink()
    soundfile.write(root / "test/song 1/drums.wav", np.zeros(8), RATE)
    with pytest.raises(InputError, match="the files that sum to accompaniment differ in length"):
        evaluate([Folder(root)], tracks[:2], PROTOCOL, tmp_path / "museval")
    soundfile.write(root / "test/song 0/vocals.wav", np.zeros(9), 8000)
    with pytest.raises(
        InputError,
        match=r"vocals\.wav: has a sample rate of 8000 Hz, but the references have 4000 Hz",
    ):
        evaluate([Folder(root)], tracks[:1], PROTOCOL, tmp_path / "museval")


def test_accompaniment_is_sum_of_other_stems(tmp_path: Path, tracks: list[StoredTrack]) -> None:
    root = write_estimates(tmp_path / "a tool", tracks, noisy)
    expected = evaluate([Folder(root)], tracks[:1], PROTOCOL, tmp_path / "museval")
    accompaniment = root / "test/song 0/accompaniment.wav"
    samples, _ = soundfile.read(accompaniment, dtype="float32")
    accompaniment.unlink()
    for part, share in (("bass", 0.25), ("drums", 0.75)):
        soundfile.write(accompaniment.with_name(f"{part}.wav"), share * samples, RATE, "FLOAT")
    scores = evaluate([Folder(root)], tracks[:1], PROTOCOL, tmp_path / "museval")
    for metric in METRICS:
        values = (song["a tool"][0].frames[OTHER][metric] for song in (scores, expected))
        np.testing.assert_allclose(*values, atol=1e-4)


def test_replaced_checkpoint_is_loaded_again(tracks: list[StoredTrack], checkpoint: Path) -> None:
    """One process may train, score, resume the training and score again."""
    before = Trained("mlp", checkpoint)
    song = references_of(tracks[0], PROTOCOL.stems)
    first = before.separate(tracks[0], song)["vocals"]
    separator = before.separator
    with torch.no_grad():
        for weights in separator.network.parameters():
            weights.add_(0.1)
    save(separator, checkpoint)
    after = Trained("mlp", checkpoint)
    assert after.identity(tracks[0]) != before.identity(tracks[0])
    assert not np.array_equal(after.separate(tracks[0], song)["vocals"], first)
    # A checkpoint that is replaced after its digest was taken is not scored under the old digest.
    for weights in separator.network.parameters():
        weights.data.add_(0.1)
    late = Trained("mlp", checkpoint)
    loaded.cache_clear()
    save(separator, checkpoint)
    with pytest.raises(InputError, match=r"mlp\.ckpt: has changed since the scoring began"):
        late.separate(tracks[0], song)


def test_checkpoint_without_wanted_stem_raises(
    tmp_path: Path, tracks: list[StoredTrack], checkpoint: Path
) -> None:
    three = replace(PROTOCOL, stems=("vocals", "bass", "drums"))
    with pytest.raises(InputError, match=r"mlp, .*mlp\.ckpt: bass cannot be scored"):
        evaluate([Mixture(), Trained("mlp", checkpoint)], tracks, three, tmp_path / "museval")
    assert not (tmp_path / "museval").exists()


def test_batches_of_systems_give_same_scores(
    tmp_path: Path, tracks: list[StoredTrack], checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_systems = systems(tmp_path, tracks, checkpoint)
    one_batch = evaluate(all_systems, tracks[:1], PROTOCOL, tmp_path / "one batch")
    monkeypatch.setattr(runner, "MEMORY", 1.0)
    batches = evaluate(all_systems, tracks[:1], PROTOCOL, tmp_path / "batches")
    for name, [song] in one_batch.items():
        for stem, metrics in song.frames.items():
            np.testing.assert_allclose(batches[name][0].frames[stem]["SDR"], metrics["SDR"])


def test_nan_in_estimate_raises_with_system_and_song(
    tmp_path: Path, tracks: list[StoredTrack]
) -> None:
    class Broken(Mixture):
        name = "broken"

        def separate(self, track: StoredTrack, references: dict) -> dict:
            return {stem: np.full_like(samples, np.nan) for stem, samples in references.items()}

    with pytest.raises(InputError, match="broken, song 0: the estimate of vocals has 12,000 "):
        evaluate([Broken()], tracks, PROTOCOL, tmp_path / "museval")


def test_unknown_backend_raises() -> None:
    expected = r"unknown evaluation\.backend=nonsense; choose stemsplit or museval"
    with pytest.raises(InputError, match=expected):
        replace(PROTOCOL, backend="nonsense")


@pytest.mark.parametrize("name", ["x" * 252, "日本" * 42 + "x", "caf\udce9 " * 60])
def test_songs_with_longest_names_are_scored(
    name: str, tmp_path: Path, tracks: list[StoredTrack]
) -> None:
    """Songs whose names differ only at the end have separate files, which museval reads."""
    longest = [
        replace(track, name=f"{name}{end}") for track, end in zip(tracks[:2], "ab", strict=True)
    ]
    folder = tmp_path / "museval"
    scores = evaluate([Mixture()], longest, PROTOCOL, folder)
    assert [song.track for song in scores["mixture"]] == [track.name for track in longest]
    files = list(folder.glob("*/mixture/test/*.json"))
    assert len(files) == 2
    assert all(len(os.fsencode(file.name)) <= 255 for file in files)
    np.testing.assert_equal(evaluate([Mixture()], longest, PROTOCOL, folder), scores)
    store = museval.EvalStore()
    store.add_eval_dir(files[0].parents[1])
    assert set(store.df["track"]) == {file.stem for file in files}


def test_repeated_system_name_raises(tmp_path: Path, tracks: list[StoredTrack]) -> None:
    with pytest.raises(InputError, match=r"several systems are called mixture: give each .*NAME"):
        evaluate([Mixture(), Mixture()], tracks, PROTOCOL, tmp_path / "museval")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../../x"])
def test_system_name_must_be_folder_name(
    name: str, tmp_path: Path, tracks: list[StoredTrack]
) -> None:
    with pytest.raises(InputError, match="a system cannot be called"):
        evaluate([Folder(tmp_path, name)], tracks, PROTOCOL, tmp_path / "museval")


def test_identity_is_computed_once_per_song(
    tmp_path: Path, tracks: list[StoredTrack], monkeypatch: pytest.MonkeyPatch
) -> None:
    system = Folder(write_estimates(tmp_path / "a tool", tracks, noisy))
    calls: list[str] = []
    real = Folder.identity

    def identity(self: Folder, track: StoredTrack) -> str:
        calls.append(track.name)
        return real(self, track)

    monkeypatch.setattr(Folder, "identity", identity)
    evaluate([system, Mixture()], tracks, PROTOCOL, tmp_path / "museval")
    assert calls == [track.name for track in tracks]


def test_museval_backend_has_its_own_folder(tmp_path: Path, tracks: list[StoredTrack]) -> None:
    by_museval = replace(PROTOCOL, backend="museval")
    assert "by museval" not in str(PROTOCOL)
    assert "BSS Eval v4 by museval" in str(by_museval)
    for protocol in (PROTOCOL, by_museval):
        evaluate([Mixture()], tracks[:1], protocol, tmp_path / "museval")
    assert len(list((tmp_path / "museval").iterdir())) == 2


def test_for_scenario_sums_stems() -> None:
    assert for_scenario(["drums", "bass", "vocals"], ["vocals", OTHER]) == {
        "vocals": ["vocals"],
        OTHER: ["drums", "bass"],
    }
    assert for_scenario([OTHER, "vocals"], ["vocals", OTHER])[OTHER] == [OTHER]
    three = [OTHER, "vocals", "crowd"]
    assert for_scenario(three, ["vocals", OTHER])[OTHER] == [OTHER, "crowd"]
    assert for_scenario(three, ["vocals", OTHER, "residual"])[OTHER] == [OTHER]
    assert for_scenario([*three, "residual"], ["vocals", "residual"])["residual"] == [
        *(OTHER, "crowd", "residual")
    ]
    with pytest.raises(InputError, match="accompaniment cannot be scored"):
        for_scenario(["vocals"], ["vocals", OTHER])
    with pytest.raises(InputError, match="bass cannot be scored"):
        for_scenario(["vocals", "drums"], ["bass"])


def test_residual_is_mixture_minus_targets(
    tmp_path: Path, tracks: list[StoredTrack], checkpoint: Path
) -> None:
    """The residual `accompaniment` includes the crowd of a corpus with a stem of that name."""
    crowd = replace(tracks[0], stems=("vocals", OTHER, "crowd"))
    rest = crowd.read(OTHER) + crowd.read("crowd")
    references = references_of(crowd, ("vocals", OTHER))
    np.testing.assert_array_equal(references[OTHER], rest)
    # The training target of the residual is the mixture minus the other targets.
    expected = crowd.mixture() - crowd.read("vocals")
    np.testing.assert_allclose(references[OTHER], expected, atol=1e-6)
    separated = Trained("mlp", checkpoint).separate(crowd, references)
    np.testing.assert_allclose(separated["vocals"] + separated[OTHER], crowd.mixture(), atol=1e-5)
    # As a target, the accompaniment is the corpus's stem alone.
    references = references_of(crowd, ("vocals", OTHER, "residual"))
    np.testing.assert_array_equal(references[OTHER], crowd.read(OTHER))
    np.testing.assert_array_equal(references["residual"], crowd.read("crowd"))


@pytest.mark.parametrize(
    ("files", "parts"),
    [
        (("vocals", OTHER), [OTHER]),  # the files that `separate` writes
        (("vocals", OTHER, "crowd", "choir"), [OTHER, "crowd", "choir"]),
        (("vocals", OTHER, "crowd"), "only a part of the accompaniment, .* missing: choir"),
        (("vocals", "crowd", "choir"), "there is no accompaniment.wav, .* missing: accompaniment"),
        ((OTHER, "crowd", "choir"), "vocals cannot be scored"),
    ],
)
def test_residual_files_of_corpus_with_accompaniment(
    files: tuple[str, ...], parts: list[str] | str, tmp_path: Path, tracks: list[StoredTrack]
) -> None:
    track = replace(tracks[0], stems=("vocals", OTHER, "crowd", "choir"))
    (tmp_path / "tool" / track.name).mkdir(parents=True)
    for stem in files:
        (tmp_path / "tool" / track.name / f"{stem}.wav").touch()
    folder = Folder(tmp_path / "tool")
    if isinstance(parts, str):
        with pytest.raises(InputError, match=parts):
            folder.parts(track, ("vocals", OTHER))
    else:
        scores = folder.parts(track, ("vocals", OTHER))
        assert [file.stem for file in scores[OTHER]] == parts


@pytest.mark.parametrize(
    ("stems", "scenario"),
    [
        (("vocals", OTHER), "vocals and accompaniment"),
        (("vocals", "drums", "bass", "other"), "four stems"),
        (("piano", "residual"), "piano + residual"),
    ],
)
def test_scenario_name(stems: tuple[str, ...], scenario: str) -> None:
    assert replace(PROTOCOL, stems=stems).scenario == scenario
    assert scenario in str(replace(PROTOCOL, stems=stems))
