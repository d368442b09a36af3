"""`train weights=…`: start a run with the weights of another, freeze, resume, and score it."""

import json
from pathlib import Path

import pytest
import torch
from test_train import configuration

from stemsplit.command_line.corpora import make_corpus
from stemsplit.command_line.seen_songs import songs_seen
from stemsplit.configuration import saved
from stemsplit.errors import InputError
from stemsplit.files import replacing
from stemsplit.reporting.run_facts import run_facts
from stemsplit.reporting.run_records import read_run
from stemsplit.reporting.summaries import facts
from stemsplit.separation.checkpoint import read
from stemsplit.separation.origins import origins
from stemsplit.train import train

pytestmark = pytest.mark.filterwarnings("ignore")
ONE = ["model=mlp", "epochs=1", "chunks_per_track=2"]
OTHER_SONG = "data.validation_tracks=[Tamsin Vole - Two Left Feet]"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, wav_corpus: Path) -> Path:
    """The folder of a run for vocals and bass."""
    place = tmp_path_factory.mktemp("base")
    train(configuration(place / "run", place / "cache", wav_corpus, *ONE, "targets=[vocals,bass]"))
    return place / "run"


def test_run_starts_with_weights_and_resumes_without_them(
    base: Path, wav_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, cache, weights = tmp_path / "run", base.parent / "cache", tmp_path / "weights.ckpt"
    content = read(base / "best.ckpt")
    with replacing(weights) as partial:
        torch.save({**content, "published": ["hdemucs_musdb_plus"]}, partial)
    words = [*ONE, f"weights={weights}", "freeze=[norm,first]", "callbacks=ema"]
    train(configuration(run, cache, wav_corpus, *words))
    errors = capsys.readouterr().err
    line = next(line for line in errors.splitlines() if "tensors copied" in line)
    assert f"weights={weights}: the training songs of these weights are unknown" in errors
    assert "stems of the weights without use: bass" in line
    last = read(run / "last.ckpt")
    assert last["epoch"] == 0
    before, after = content["state_dict"], last["state_dict"]
    frozen = [name for name in after if ".norm." in name or ".first." in name]
    assert frozen
    for name in frozen:  # input statistics of the weights, and statistics of batch norm
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=0)
    assert json.loads((run / "result.json").read_text())["weights"] == str(weights)
    assert origins(run) == ["hdemucs_musdb_plus"]
    shown = f"{tmp_path.name}/weights.ckpt"
    assert facts(read_run(run))["started from"] == shown
    assert run_facts(run / "best.ckpt")["weights"] == shown

    weights.unlink()
    resumed = saved(run)
    resumed.resume, resumed.epochs = str(run), 2
    train(resumed)
    assert read(run / "last.ckpt")["epoch"] == 1
    assert origins(run) == ["hdemucs_musdb_plus"]
    assert "tensors copied" not in capsys.readouterr().err


def test_songs_of_the_weights_are_recorded_and_not_scored(
    base: Path, wav_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, cache = tmp_path / "run", base.parent / "cache"
    words = [*ONE, f"weights={base}", "targets=[vocals]", OTHER_SONG]
    train(configuration(run, cache, wav_corpus, *words))
    errors = capsys.readouterr().err
    assert "their training saw 1 of the validation songs (Tamsin Vole" in errors
    assert "are unknown" not in errors
    before, own = json.loads((run / "songs.json").read_text())
    assert (before["from_step"], own["from_step"]) == (-1, 0)
    assert before["songs"] == json.loads((base / "songs.json").read_text())[0]["songs"]
    assert saved(run).weights == str(base / "best.ckpt")
    corpus = make_corpus(saved(run).data)
    assert songs_seen(run / "best.ckpt", corpus, "songs", "valid") == [
        "Tamsin Vole - Two Left Feet"
    ]
    assert songs_seen(run / "best.ckpt", corpus, "songs", "test") == []


def test_weights_that_do_not_fit_end_the_command_before_the_training(
    base: Path, wav_corpus: Path, tmp_path: Path
) -> None:
    for words, message in {
        "sample_rate=22050": "add sample_rate=44100$",
        "freeze=[nrm]": "'nrm' matches no parameter; did you mean norm",
        "model=lstm": "choose another model",
        "weights=nowhere": "nowhere: neither a checkpoint nor a run's folder",
    }.items():
        config = configuration(
            tmp_path / "run", tmp_path / "cache", wav_corpus, *ONE, f"weights={base}", words
        )
        with pytest.raises(InputError, match=message):
            train(config)
    assert not (tmp_path / "cache" / "tracks").exists()
