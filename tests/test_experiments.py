"""The study: its plans, its results and their pictures."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from experiments.study import measures, picture, results, scores, tables, trainings
from experiments.study.plan import Plan, plan, plans
from stemsplit.errors import InputError
from stemsplit.separation.front_end import FrontEnd
from stemsplit.separation.separator import Separator

ROOT = Path(__file__).resolve().parent.parent
SCORE = {"median": 1.5, "low": 1.0, "high": 2.25, "songs": 9, "frames": 90}


def test_every_plan_states_question_command_cost_and_answer() -> None:
    for each in plans():
        assert each.question.endswith("?")
        assert each.command.startswith(f"make study NAME={each.name} ")
        assert each.cost
        assert each.answer
        assert set(each.measures) <= set(measures.MEASURES)


def test_trainings_differ_in_run_and_seed() -> None:
    some = plan("paper_table_seeds")
    assert list(some.trainings()) == [
        f"{model}-{seed}" for seed in range(3) for model in ("open_unmix", "mel_blstm")
    ]
    settings = some.trainings()["mel_blstm-2"]
    assert settings == [*some.train, "model=mel_blstm", "seed=2", "name=mel_blstm"]
    small = some.as_test().trainings()
    assert list(small) == ["open_unmix-0", "mel_blstm-0"]
    assert "data=demo" in small["mel_blstm-0"]


def test_unknown_and_invalid_plans_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"unknown experiment; choose .*paper_table"):
        plan("paper_tabel")
    monkeypatch.setattr("experiments.study.plan.PLANS", tmp_path)
    for text in ("question: 3\nruns: {}\n", "- a list\n", "nothing\n", "a: [\n"):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(InputError, match=r"bad\.yaml"):
            plan("bad")


def test_small_experiment_has_one_epoch_in_every_run() -> None:
    for settings in plan("one_hour_mir1k").as_test().trainings().values():
        epochs = [setting for setting in settings if setting.startswith("epochs=")]
        assert epochs[-1] == "epochs=1"  # Hydra uses the last value


def test_added_settings_override_those_of_the_runs() -> None:
    changed = plan("one_hour_mir1k").with_settings(["epochs=2"])
    for settings in changed.trainings().values():
        assert [word for word in settings if word.startswith("epochs=")][-1] == "epochs=2"
    for word in ("seed=7", "name=other"):
        with pytest.raises(InputError, match="the experiment sets the names and seeds"):
            changed.with_settings([word])


def some_plan(**changes: object) -> Plan:
    texts = dict.fromkeys(("question", "command", "cost", "answer"), "text")
    content = {"name": "some", **texts, "train": [], "runs": {"mlp": [], "lstm": []}}
    return Plan.model_validate({**content, **changes})


def test_table_has_our_and_published_scores_and_differences() -> None:
    published = {"paper": {"vocals": {"SDR": 3.25}}}
    content = {
        "scores": {"mlp": {"vocals": {"SDR": SCORE}}},
        "differences": {"lstm - mlp": {"vocals": {"SDR": {**SCORE, "p": 0.01}}}},
    }
    lines = tables.table(some_plan(published=published), content).splitlines()
    assert "| `mlp` | vocals | 1.50 [1.0, 2.2] |  |  |  |" in lines
    assert "| paper | vocals | 3.25 |  |  |  |" in lines
    assert "| lstm - mlp | vocals | 1.50 [1.0, 2.2] | 0.01 |" in lines


def test_table_has_the_differences_over_seeds_and_the_scores_of_a_peer() -> None:
    difference = {"vocals": {"SDR": {**SCORE, "p": 0.01}}}
    content = {
        "scores": {"mlp-0": {"vocals": {"SDR": SCORE}}},
        "differences": {"lstm-0 - mlp-0": difference},
    }
    over = {"vocals": {"SDR": {**difference["vocals"]["SDR"], "seeds": [1.25, -0.5]}}}
    seeds = tables.table(some_plan(), {**content, "over_seeds": {"lstm - mlp": over}})
    assert "| lstm - mlp | vocals | 1.50 [1.0, 2.2] | 0.01 | 1.25, -0.50 |" in seeds
    assert "lstm-0 - mlp-0" not in seeds
    both = {"mlp-0": {"vocals": {"SDR": SCORE}}, "peer-0": {"vocals": {"SDR": SCORE}}}
    assert "`peer-0`" in tables.table(some_plan(), {**content, "peer": {"scores": both}})


def test_medians_of_songs_are_over_frames(tmp_path: Path) -> None:
    for song, values in (("b", (1.0, 5.0, 2.0)), ("a", (np.nan, 3.0, 4.0))):
        frames = [{"metrics": dict.fromkeys(scores.METRICS, value)} for value in values]
        path = tmp_path / f"museval/vocals/mlp-0/test/{song}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"targets": [{"name": "vocals", "frames": frames}]}))
    wanted = {"vocals": {metric: [3.5, 2.0] for metric in scores.METRICS}}
    assert scores.song_medians(tmp_path, "mlp-0") == wanted


def sdr(*medians: float | None) -> dict:
    return {"vocals": {"SDR": list(medians)}}


def test_differences_over_seeds_are_means_of_song_medians() -> None:
    medians = {"mlp-0": sdr(1.0, 2.0, 5.0), "mlp-1": sdr(3.0, 2.0, 5.0)}
    medians |= {"lstm-0": sdr(4.0, 4.0, 4.0), "lstm-1": sdr(6.0, 4.0, None)}
    differences = scores.over_seeds(some_plan(seeds=[0, 1]), medians)
    difference = differences["lstm - mlp"]["vocals"]["SDR"]
    assert difference["median"] == np.median([5 - 2, 4 - 2])
    assert difference["seeds"] == [np.median([4 - 1, 4 - 2]), np.median([6 - 3, 4 - 2])]
    assert difference["songs"] == 2


def evaluation(**medians: dict) -> dict:
    conditions = dict.fromkeys(scores.CONDITIONS, "same")
    figures = dict.fromkeys(medians, SCORE)
    return {**conditions, "scores": figures, "frames": figures, "song_medians": medians}


def test_scores_of_several_evaluations_are_combined_in_the_order_of_the_plan() -> None:
    later = evaluation(mlp=sdr(1.0, 2.0, 3.0))
    both = scores.combined(evaluation(lstm=sdr(2.0, 4.0, 6.0)), later, ["mlp", "lstm"])
    assert set(both["scores"]) == {"mlp", "lstm"}
    difference = both["differences"]["lstm - mlp"]["vocals"]["SDR"]
    assert difference["median"] == 2.0
    assert "seeds" not in difference
    with pytest.raises(InputError, match=r"different fingerprint.*--results"):
        scores.combined({**later, "fingerprint": "other"}, later, ["mlp"])


def test_runs_of_two_computers_are_in_one_result() -> None:
    some = some_plan(seeds=[0, 1])
    medians = {name: sdr(float(number)) for number, name in enumerate(some.trainings())}
    first, *others = medians
    parts = [
        {
            "runs": {name: {} for name in names},
            **evaluation(**{name: medians[name] for name in names}),
        }
        for names in (others, [first])
    ]
    both = results.added(*parts, some)
    assert list(both["runs"]) == list(both["song_medians"]) == list(medians)
    assert both["over_seeds"]["lstm - mlp"]["vocals"]["SDR"]["seeds"] == [1.0, 1.0]
    assert "over_seeds" not in results.added(parts[1], parts[1], some)


def test_result_has_one_line_for_each_list_of_numbers(tmp_path: Path) -> None:
    content = {"settings": ["a=[b,c]", "d=e  f"], "curves": [[1, 0.5], [2, np.nan]]}
    results.write(content, tmp_path / "some.json")
    text = (tmp_path / "some.json").read_text()
    assert "[2, null]" in text
    assert json.loads(text) == {**content, "curves": [[1, 0.5], [2, None]]}


def test_result_with_other_settings_or_without_songs_takes_no_further_run(tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    some = some_plan()
    assert results.read(path, some) is None
    wanted = some.trainings()["mlp-0"]
    content = {"runs": {"mlp-0": {"settings": wanted}}, "song_medians": {}}
    results.write(content, path)
    assert results.read(path, some.with_settings(["data.root=/elsewhere"])) == content
    with pytest.raises(InputError, match=r"some\.json: the run mlp-0 has other settings"):
        results.read(path, some.with_settings(["epochs=9"]))
    results.write({"runs": content["runs"]}, path)
    with pytest.raises(InputError, match="has no scores of songs"):
        results.read(path, some)
    with pytest.raises(InputError, match="only be carried out together"):
        results.read(path, some_plan(measures=["leakage"]))


def test_table_without_scores_tells_how_the_trainings_ended() -> None:
    curves = {"train/loss": [(0, 2.0)], "validation/loss": [(9, 1.5)]}
    runs = {
        "good-0": {"steps": 10, "curves": curves, "error": None},
        "bad-0": {
            "steps": 3,
            "curves": {name: [] for name in curves},
            "error": "error: not finite",
        },
    }
    lines = tables.table(some_plan(), {"runs": runs}).splitlines()
    assert lines[2:] == ["| `good-0` | 10 | 1.5 |  |", "| `bad-0` | 3 | – | error: not finite |"]


def test_picture_shows_losses_and_scores(tmp_path: Path) -> None:
    points = [(step, 1 / (step + 1)) for step in range(5)]
    content = {
        "runs": {"mlp-0": {"curves": dict.fromkeys(results.CURVES, points)}},
        "protocol": {"stems": ["vocals"]},
        "scores": {"mlp-0": {"vocals": {"SDR": SCORE}}},
    }
    picture.draw(some_plan(), content, tmp_path / "some.png")
    assert (tmp_path / "some.png").read_bytes().startswith(b"\x89PNG")


def test_long_curves_are_thinned_and_keep_their_end() -> None:
    points = [(float(step), 1.0) for step in range(1003)]
    thinned = results.thinned(points)
    assert len(thinned) <= results.MOST_POINTS
    assert thinned[-1] == points[-1]
    assert results.thinned(points[:9]) == points[:9]


def test_step_of_an_explosion_is_found() -> None:
    points = [(float(step), 1.0) for step in range(9)]
    assert measures.extremes(points)["exploded_at"] is None
    exploding = [*points, (9.0, 101.0), (10.0, float("nan"))]
    assert measures.extremes(exploding)["exploded_at"] == 9
    assert measures.extremes(exploding)["at_step"] == 10


@pytest.mark.parametrize("exploding", [float("nan"), float("inf")])
def test_layer_whose_first_gradient_is_0_explodes_only_without_a_finite_gradient(
    exploding: float,
) -> None:
    points = [(0.0, 0.0), (1.0, 1.0)]
    assert measures.extremes(points)["exploded_at"] is None
    assert measures.extremes([*points, (2.0, exploding)])["exploded_at"] == 2


def test_steps_without_a_gradient_are_counted() -> None:
    layer = measures.extremes([(0.0, 1.0), (1.0, 3.0), (2.0, 0.0), (3.0, 0.0)])
    assert (layer["first"], layer["largest"], layer["exploded_at"]) == (1, 3, None)
    assert layer["zero_share"] == 0.5


def test_picture_shows_gradients(tmp_path: Path) -> None:
    points = [(step, 1 / (step + 1)) for step in range(5)]
    layers = {"lstm": measures.extremes(points), "dense": measures.extremes([(0.0, 0.0)])}
    content = {
        "runs": {
            "lstm-0": {"curves": dict.fromkeys(results.CURVES, points)},
            "failed-0": {"curves": {name: [] for name in results.CURVES}},  # before its first step
        },
        "gradients": {"lstm-0": layers, "failed-0": {}},
    }
    picture.draw(some_plan(), content, tmp_path / "some.png")
    assert (tmp_path / "some.png").read_bytes().startswith(b"\x89PNG")


class Song:
    """A song of noise, as a corpus stores it."""

    name, sample_rate, stems = "song", 8000, ("drums", "vocals")

    def read(self, stem: str) -> np.ndarray:
        seed = self.stems.index(stem)
        return np.random.default_rng(seed).uniform(-0.5, 0.5, (1, 8000)).astype(np.float32)

    def mixture(self) -> np.ndarray:
        return self.read("drums") + self.read("vocals")


def test_noise_has_the_wanted_level_and_belongs_to_the_accompaniment(tmp_path: Path) -> None:
    song = Song()
    measures.write_noisy(song, 10, tmp_path)
    vocals, rest = (
        soundfile.read(tmp_path / f"{stem}.wav")[0] for stem in ("vocals", "accompaniment")
    )
    np.testing.assert_allclose(vocals, song.read("vocals")[0], atol=1e-6)
    before = (tmp_path / "vocals.wav").stat().st_mtime_ns
    measures.write_noisy(song, 10, tmp_path)
    assert (tmp_path / "vocals.wav").stat().st_mtime_ns == before
    noise = rest - song.read("drums")[0]
    snr = 10 * np.log10(np.mean(song.mixture() ** 2) / np.mean(noise**2))
    assert snr == pytest.approx(10, abs=0.3)


def test_share_is_that_of_the_mask() -> None:
    """A network that always answers with a mask of 0.5 leaves every stem 6 dB below itself."""

    class Half(torch.nn.Module):
        views = ("magnitude",)

        def forward(self, views: dict[str, torch.Tensor]) -> torch.Tensor:
            return torch.full_like(views["magnitude"], 0.5)[:, None]

    separator = Separator(FrontEnd(8000, 256, 64), Half(), ["vocals"], "rest", 1)
    shares = measures.share_of(separator, Song())
    assert shares == pytest.approx(dict.fromkeys(Song.stems, -6.02), abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("name", [each.name for each in plans()])
def test_every_experiment_runs_end_to_end(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "experiments.study", name, "--small", "--runs", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=900)
    content = json.loads((tmp_path / f"{name}-small" / f"{name}.json").read_text())
    wanted = plan(name)
    assert set(content["runs"]) == set(wanted.as_test().trainings())
    assert ("scores" in content) == wanted.scored
    assert set(wanted.measures) <= set(content)
    assert (tmp_path / f"{name}-small" / f"{name}.png").is_file()


@pytest.mark.slow
def test_runs_of_an_experiment_can_be_carried_out_in_turn(tmp_path: Path) -> None:
    target = tmp_path / "results"
    command = [sys.executable, "-m", "experiments.study", "features_mir1k", "--small"]
    command += ["--results", str(target)]
    for number, run in enumerate(("mel-0", "linear-0")):  # as on two computers
        words = ["--runs", str(tmp_path / str(number)), "--only", run]
        subprocess.run([*command, *words], cwd=ROOT, check=True, timeout=900)
    content = json.loads((target / "features_mir1k.json").read_text())
    assert list(content["runs"]) == ["linear-0", "mel-0"]
    for part in (content, content["noise"]["0"]):
        assert {"mixture", "linear-0", "mel-0"} <= set(part["scores"])
        assert list(part["differences"]) == ["mel-0 - linear-0"]
    unknown = subprocess.run([*command, "--only", "mell-0"], cwd=ROOT, capture_output=True)
    assert b"mell-0: unknown run; choose from linear-0, mel-0" in unknown.stderr


def test_training_that_is_done_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = []

    def command(*words: str) -> tuple[int, str]:
        commands.append(words)
        return 0, ""

    monkeypatch.setattr(trainings, "command", command)
    [mlp, _] = trainings.trainings(some_plan(), tmp_path)
    mlp.folder.mkdir()
    trainings.train(mlp, may_fail=False)
    assert commands.pop()[-1] == f"hydra.run.dir={mlp.folder}"
    trainings.train(mlp, may_fail=False)
    assert commands == []
    (mlp.folder / trainings.ENDED).unlink()
    (mlp.folder / "last.ckpt").touch()
    trainings.train(mlp, may_fail=False)
    assert commands == [("train", f"resume={mlp.folder}")]


def test_run_with_other_settings_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainings, "command", lambda *words: (0, ""))

    def mlp(*settings: str) -> trainings.Training:
        return trainings.trainings(some_plan().with_settings(list(settings)), tmp_path)[0]

    mlp().folder.mkdir()
    trainings.train(mlp(), may_fail=False)
    trainings.train(mlp("data.root=/elsewhere", "logger=csv"), may_fail=False)
    with pytest.raises(InputError, match=r"other settings \(different: epochs=9\).*--runs"):
        trainings.train(mlp("epochs=9"), may_fail=False)


def test_error_of_a_training_ends_the_study_unless_it_is_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainings, "command", lambda *words: (1, "error: not finite"))
    [mlp, _] = trainings.trainings(some_plan(), tmp_path)
    mlp.folder.mkdir()
    with pytest.raises(InputError, match=r"mlp-0: the training failed: error: not finite"):
        trainings.train(mlp, may_fail=False)
    with pytest.raises(InputError, match="the training failed"):  # before the run has begun
        trainings.train(mlp, may_fail=True)
    (mlp.folder / "config.yaml").touch()
    trainings.train(mlp, may_fail=True)
    assert mlp.error == "error: not finite"
    monkeypatch.setattr(trainings, "command", lambda *words: (130, "interrupted"))
    with pytest.raises(InputError, match=r"interrupted \(exit code 130\)"):
        trainings.train(trainings.Training("lstm-0", [], tmp_path / "lstm-0"), may_fail=True)


def test_single_song_has_no_interval_and_pruned_settings_leave_a_gap(tmp_path: Path) -> None:
    assert tables.interval({"median": 1.0, "low": None, "high": None}) == "1.00"
    trials = [
        {"optimizer.lr": rate, "scheduler.factor": factor, "value": 4.0}
        for rate, factor in ((1e-3, 0.1), (1e-3, 0.3), (1e-4, 0.1))
    ]
    ranking = {"trials": [{"downsampled": 4.0, "full": 5.0}]}
    content = {"sweep": {"trials": trials, "ranking": ranking}}
    picture.draw(some_plan(), content, tmp_path / "some.png")
    assert (tmp_path / "some.png").is_file()


def test_interrupted_training_continues_with_the_corpus_in_its_new_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = []
    monkeypatch.setattr(trainings, "command", lambda *words: (commands.append(words), (0, ""))[1])
    [mlp, _] = trainings.trainings(some_plan().with_settings(["data.root=/new"]), tmp_path)
    mlp.folder.mkdir()
    (mlp.folder / "last.ckpt").touch()
    trainings.train(mlp, may_fail=False)
    assert commands == [("train", f"resume={mlp.folder}", "data.root=/new")]
