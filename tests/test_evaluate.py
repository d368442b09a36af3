"""``python -m stemsplit.evaluate``: which systems, on what they are scored together, and where."""

import csv
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from hydra import compose, initialize_config_dir
from weights_server import HDEMUCS, published

from stemsplit.configuration import CONF, register_resolvers
from stemsplit.errors import InputError
from stemsplit.evaluate import evaluate_systems
from stemsplit.reporting import results
from stemsplit.separation.checkpoint import build, save

RATE = 4000
STEMS = ("vocals", "bass", "drums")
THREE = ("targets=[vocals,bass,drums]", "stems=[vocals,bass,drums]")
FRONT_END = {"sample_rate": RATE, "window": 256, "hop": 64, "mel_bands": 16, "mfccs": 4}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two mono songs of three stems, 2 s each."""
    for number in range(2):
        random = np.random.default_rng(number)
        folder = tmp_path / f"corpus/test/song{number}"
        folder.mkdir(parents=True)
        for stem in STEMS:
            samples = 0.1 * random.standard_normal(2 * RATE)
            soundfile.write(folder / f"{stem}.wav", samples, RATE)
    return tmp_path / "corpus"


def checkpoint(path: Path, *targets: str) -> Path:
    rest = None if set(targets) == set(STEMS) else "accompaniment"
    network = {"class": "stemsplit.models.mlp.Mlp", "hidden": 8}
    path.parent.mkdir(parents=True, exist_ok=True)
    save(build(FRONT_END, network, list(targets), rest, 1), path)
    return path


def copy_of(corpus: Path, folder: Path, gain: float) -> Path:
    """Estimates: the true stems, and a little noise."""
    random = np.random.default_rng(0)
    for file in sorted(corpus.rglob("*.wav")):
        samples, rate = soundfile.read(file)
        path = folder / file.relative_to(corpus)
        path.parent.mkdir(parents=True, exist_ok=True)
        noisy = samples + gain * random.standard_normal(samples.shape)
        soundfile.write(path, noisy, rate, "FLOAT")
    return folder


def evaluated(corpus: Path, output: Path, *overrides: str) -> dict:
    register_resolvers()
    standard = [
        *("data=folder", "corpus=folder", f"data.root={corpus}", f"output={output}"),
        *(f"data.cache={corpus.parent}/cache", "evaluation.oracles=false", "device=cpu"),
        *(f"sample_rate={RATE}", "channels=1", "window=256", "hop=64"),
    ]
    names = {word.partition("=")[0] for word in overrides}
    given = [word for word in standard if word.partition("=")[0] not in names]
    with initialize_config_dir(config_dir=CONF):
        evaluate_systems(compose("evaluate", [*given, *overrides]), [*given, *overrides])
    return json.loads((output / "result.json").read_text())


def test_named_systems_are_compared(corpus: Path, tmp_path: Path) -> None:
    near, far = (
        copy_of(corpus, tmp_path / name / "estimates", gain)
        for name, gain in (("near", 0.01), ("far", 0.1))
    )
    with pytest.raises(InputError, match=r"several systems are called estimates: give each"):
        evaluated(corpus, tmp_path / "out", f"estimates=[{near},{far}]")
    assert not (tmp_path / "out").exists()
    found = evaluated(corpus, tmp_path / "out", f"estimates={{near: {near}, far: {far}}}")
    assert list(found["scores"]) == ["mixture", "near", "far"]
    assert found["protocol"]["scenario"] == "vocals and accompaniment"
    vocals = {name: scores["vocals"] for name, scores in found["scores"].items()}
    assert vocals["near"]["SDR"]["median"] == pytest.approx(20, abs=0.5)
    assert vocals["near"]["SDR"]["frames"] == 4
    gain = vocals["near"]["SDR"]["median"] - vocals["mixture"]["SDR"]["median"]
    assert vocals["near"]["SDR gain"]["median"] == pytest.approx(gain, abs=0.2)
    assert vocals["near"]["GNSDR"].keys() == {"mean", "low", "high", "songs"}
    [difference] = found["differences"].values()
    assert difference["vocals"]["SDR"]["median"] == pytest.approx(-20, abs=0.5)
    assert difference["vocals"]["SDR"]["songs"] == 2
    with (tmp_path / "out/differences.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["systems"] == "far - near"


def test_checkpoints_of_different_stems_need_targets(corpus: Path, tmp_path: Path) -> None:
    two = checkpoint(tmp_path / "two.ckpt", "vocals")
    three = checkpoint(tmp_path / "three.ckpt", *STEMS)
    for given in (f"[{two},{three}]", f"[{three},{two}]"):
        with pytest.raises(InputError, match=r"two: vocals, accompaniment.*targets=\[vocals\]"):
            evaluated(corpus, tmp_path / "out", f"checkpoint={given}")
    found = evaluated(corpus, tmp_path / "out", f"checkpoint=[{three},{two}]", "targets=[vocals]")
    assert found["protocol"]["stems"] == ["vocals", "accompaniment"]
    assert found["targets"] == ["vocals"]
    assert set(found["scores"]["three"]) == {"vocals", "accompaniment"}
    with pytest.raises(InputError, match=r"two, .*two\.ckpt: bass cannot be scored"):
        evaluated(corpus, tmp_path / "3", f"checkpoint={two}", *THREE)


def test_checkpoints_outside_of_runs_have_no_seed_spread(corpus: Path, tmp_path: Path) -> None:
    some = [checkpoint(tmp_path / f"{name}/best.ckpt", "vocals") for name in ("a", "b")]
    found = evaluated(corpus, tmp_path / "out", f"checkpoint=[{some[0]},{some[1]}]")
    assert list(found["scores"]) == ["mixture", "best (a)", "best (b)"]
    assert found["spreads"] == {}


def test_runs_that_differ_in_seed_only_have_a_spread(corpus: Path, tmp_path: Path) -> None:
    runs = {}
    for name, seed, hidden in (("a", 0, 8), ("b", 1, 8), ("c", 0, 16)):
        file = checkpoint(tmp_path / name / "best.ckpt", "vocals")
        config = {"name": "mlp", "seed": seed, "hidden": hidden, "run_dir": str(file.parent)}
        config |= {"corpus": "folder", "data": {"root": str(corpus)}}
        (file.parent / "config.yaml").write_text(yaml.safe_dump(config))
        checkpoint(file.with_name("last.ckpt"), "vocals")
        runs[name] = file.parent
    given = [f"{name}: {run}" for name, run in runs.items()]
    given.append(f"last: {runs['a'] / 'last.ckpt'}")
    found = evaluated(corpus, tmp_path / "out", f"checkpoint={{{', '.join(given)}}}")
    assert list(found["spreads"]) == ["mlp"]
    assert found["spreads"]["mlp"]["vocals"]["SDR"]["trainings"] == 2
    (runs["a"] / "config.yaml").write_text("a: [")
    with pytest.raises(InputError, match=r"config\.yaml: is damaged"):
        evaluated(corpus, tmp_path / "out", f"checkpoint={runs['a']}")


def test_oracles_do_not_change_the_separator(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an accelerator a front end moved to the CPU would no longer separate there."""
    file = checkpoint(tmp_path / "one.ckpt", "vocals")
    moved: list[object] = []
    monkeypatch.setattr(
        "stemsplit.separation.front_end.FrontEnd.cpu", lambda self: moved.append(self) or self
    )
    found = evaluated(corpus, tmp_path / "out", f"checkpoint={file}", "evaluation.oracles=true")
    assert not moved
    assert found["oracles"] == {"window": 256, "hop": 64}
    assert "IRM1" in found["scores"]


def test_count_of_scorings_is_not_taken_for_a_result(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/result.json").write_text('{"test_scored": {"musdb18": 2}}')
    estimates = copy_of(corpus, tmp_path / "tool", 0.1)
    found = evaluated(corpus, tmp_path / "out", f"estimates={estimates}", "targets=vocals")
    assert found["test_scored"] == {"musdb18": 2}
    assert found["targets"] == ["vocals"]


def test_read_only_run_is_scored_without_counting(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    run = checkpoint(tmp_path / "run/best.ckpt", "vocals").parent
    config = {"name": "mlp", "run_dir": "", "corpus": "folder"}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    real = results.FileLock

    def locked(path: Path) -> object:
        if path.parent == run:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(results, "FileLock", locked)
    found = evaluated(corpus, tmp_path / "out", f"checkpoint={run}")
    assert "mlp" in found["scores"]
    assert capsys.readouterr().out.endswith(
        f"{run}: read-only, so this scoring of the test songs is not counted\n"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_output_is_refused_before_scoring(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(0o555)
    with pytest.raises(InputError, match=r"locked: is not writable .* with output=FOLDER"):
        evaluated(corpus, tmp_path / "locked/out", f"estimates={corpus}")


def test_output_that_is_a_file_is_refused_before_scoring(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(InputError, match=r"out: is not writable .* with output=FOLDER"):
        evaluated(corpus, tmp_path / "out", f"estimates={corpus}")


def test_results_of_other_songs_or_stems_are_not_overwritten(corpus: Path, tmp_path: Path) -> None:
    estimates = copy_of(corpus, tmp_path / "tool", 0.1)
    given = f"estimates={estimates}"
    before = evaluated(corpus, tmp_path / "out", given)
    with pytest.raises(InputError, match=r"result\.json: holds scores of .*set output=ANOTHER"):
        evaluated(corpus, tmp_path / "out", given, *THREE)
    vocals = corpus / "test/song0/vocals.wav"
    soundfile.write(vocals, 0.5 * soundfile.read(vocals)[0], RATE)
    with pytest.raises(InputError, match=r"result\.json: holds scores of"):
        evaluated(corpus, tmp_path / "out", given)
    assert json.loads((tmp_path / "out/result.json").read_text()) == before


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("workers=two", "workers=two: choose an integer of at least 1"),
        ("workers=0", "workers=0: choose an integer"),
        ("workers=true", "workers=true: choose an integer"),
        ("device=nonsense", "device=nonsense: "),
        ("estimates={x: null}", "estimates=.*: choose a path"),
        ("estimates=[[a]]", "estimates=.*: choose a path"),
        ("evaluation.oracles=maybe", "evaluation.oracles=maybe: choose true or false"),
        ("evaluation.stages=1", "evaluation.stages=1: choose true or false"),
        ("subset=train", "subset=train: choose test or valid"),
        ("targets=5", "targets=5: choose a list of distinct names"),
        ("targets={a: b}", "targets=.*: choose a list of distinct names"),
    ],
)
def test_meaningless_setting_is_refused(
    corpus: Path, tmp_path: Path, setting: str, says: str
) -> None:
    estimates = [] if setting.startswith("estimates") else [f"estimates={tmp_path}"]
    with pytest.raises(InputError, match=says):
        evaluated(corpus, tmp_path / "out", *estimates, setting)


def test_nothing_to_score_is_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to score"):
        evaluated(corpus, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Empty filters")
def test_published_model_is_scored_by_its_name(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with published(tmp_path, monkeypatch):
        found = evaluated(corpus, tmp_path / "out", "checkpoint=umxhq", "targets=[vocals]")
    assert list(found["scores"]) == ["mixture", "umxhq"]
    assert found["checkpoints"] == {"umxhq": "umxhq"}
    assert not any("saw" in note for note in found["frames"]["umxhq"]["notes"])


@pytest.mark.parametrize("by", ["corpus", "names"])
def test_songs_of_its_training_are_refused_unless_insisted_on(
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    by: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    overrides = ["targets=[vocals]"]
    if by == "names":
        (corpus / "test/song0").rename(corpus / "test/Zeno - Signs")
    else:
        overrides.append("corpus=musdb18hq")
    output = tmp_path / "out"
    with published(tmp_path, monkeypatch) as server:
        (tmp_path / "copy.pt").write_bytes(server.files[HDEMUCS])
        for source in ("hdemucs_musdb_plus", f"{{mine: {tmp_path}/copy.pt}}"):
            with pytest.raises(InputError, match=r"its training saw .*allow_training_songs=true"):
                evaluated(corpus, output, f"checkpoint={source}", *overrides)
        assert not output.exists()
        insisted = ["checkpoint=hdemucs_musdb_plus", "allow_training_songs=true"]
        found = evaluated(corpus, output, *insisted, *overrides)
        count = {"corpus": 2, "names": 1}[by]
        assert found["frames"]["hdemucs_musdb_plus"]["notes"] == {
            "its training saw these songs": count
        }
        assert found["frames"]["mixture"]["notes"] == {}
        note = f"hdemucs_musdb_plus: its training saw these songs ({count} song"
        assert note in capsys.readouterr().out
        evaluated(corpus, tmp_path / "umxhq", "checkpoint=umxhq", *overrides)


@pytest.mark.slow
def test_evaluation_starts_without_lightning() -> None:
    """Importing Lightning takes several seconds, and only training needs it."""
    script = "import sys, stemsplit.evaluate; sys.exit('lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
