"""Train every architecture, in this process."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import rows
from filelock import FileLock
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

import stemsplit
from stemsplit import audio
from stemsplit.configuration import CONF, register_resolvers, saved
from stemsplit.errors import InputError
from stemsplit.files import LOCK
from stemsplit.train import after_interruption, check_unused, train
from stemsplit.training.callbacks.excerpt_index import read_index
from stemsplit.training.callbacks.excerpts import sdr
from stemsplit.training.trainer import lightning_signals

MODELS = sorted(
    path.stem
    for path in (Path(CONF) / "model").glob("*.yaml")
    if not path.stem.endswith("_matched")
)
LARGE = ("band_split", "band_split_large", "hdemucs", "scnet")
# Reduced sizes for networks that have these settings.
SMALL = {"hidden": 16, "layers": 1, "features": 8, "heads": 2, "mask_hidden": 16, "depth": 5}
pytestmark = pytest.mark.filterwarnings("ignore")  # warnings of Lightning, which commands hide


def configuration(
    run: Path, cache: Path, corpus: Path, *overrides: str, logger: str = "csv"
) -> DictConfig:
    register_resolvers()
    run.mkdir(exist_ok=True)
    tiny = ["window=1024", "hop=256", "chunk_seconds=0.5", "chunks_per_track=4"]
    tiny.append(f"logger={logger}")
    for slow in ("callbacks.excerpts", "callbacks.layers"):
        if not any(slow in word for word in overrides):
            tiny.append(f"{slow}=null")
    songs = [
        "data=musdb18hq",
        f"data.root={corpus}",
        f"data.cache={cache}",
        "data.validation_tracks=[Pell Orrin - Wire Garden]",
        "data.validation_chunks=1",
        "data.batch_size=2",
    ]
    with initialize_config_dir(config_dir=CONF):
        config = compose("train", [*songs, *tiny, *overrides])
    network = config.model.separator.network
    network.update({key: SMALL[key] for key in SMALL if key in network})
    config.update({"run_dir": str(run), "name": "model", "corpus": "corpus"})
    return config


FOUR = "[vocals,drums,bass,other]"


def is_slow(model: str, targets: str) -> bool:
    return model in LARGE or (targets == FOUR and model != "mlp")


@pytest.mark.parametrize(
    ("model", "targets"),
    [
        # Large models have a small variant, which is fast. For four stems, only the network
        # differs, and test_all_models checks it for every model.
        pytest.param(model, targets, marks=[pytest.mark.slow] * is_slow(model, targets))
        for model in MODELS
        for targets in ("[vocals]", FOUR)
    ],
)
def test_fast_dev_run_succeeds(model: str, targets: str, tmp_path: Path, wav_corpus: Path) -> None:
    overrides = [f"model={model}", f"targets={targets}", "trainer.fast_dev_run=2"]
    train(configuration(tmp_path / "run", tmp_path / "cache", wav_corpus, *overrides))


@pytest.mark.parametrize("model", ["mlp", "hdemucs_small", "scnet_small"])
def test_excerpts_are_separated_by_masks_spectra_and_waveforms(
    model: str, tmp_path: Path, wav_corpus: Path
) -> None:
    """Excerpts are separated with the averaged weights, which are also validated."""
    overrides = [f"model={model}", "epochs=1", "callbacks=ema", "callbacks.excerpts.seconds=0.5"]
    train(configuration(tmp_path / "run", tmp_path / "cache", wav_corpus, *overrides))
    [excerpt] = read_index(tmp_path / "run/excerpts")
    [estimate] = excerpt["stems"]["vocals"]["estimates"]
    place = round(excerpt["start_seconds"] * 44100)
    mixture = samples_of(wav_corpus, excerpt["track"], "mixture")[:, place : place + 22050]
    vocals = samples_of(wav_corpus, excerpt["track"], "vocals")[:, place : place + 22050]
    averaged = stemsplit.load(tmp_path / "run").separate(torch.from_numpy(mixture), 44100)
    assert estimate["sdr"] == pytest.approx(sdr(vocals, averaged["vocals"].numpy()), abs=0.01)


def samples_of(corpus: Path, track: str, stem: str) -> np.ndarray:
    return audio.read(corpus / "train" / track / f"{stem}.wav").samples


@pytest.mark.parametrize("accumulate", [1, 2])
def test_same_seed_gives_same_metrics(accumulate: int, tmp_path: Path, wav_corpus: Path) -> None:
    overrides = ["epochs=2", f"trainer.accumulate_grad_batches={accumulate}"]
    metrics = []
    for name in ("first", "second"):
        run = tmp_path / name
        train(configuration(run, tmp_path / "cache", wav_corpus, *overrides))
        metrics.append(rows(run))
        torch.rand(7)  # other uses of the generator must not matter
    assert metrics[0] == metrics[1]
    assert len(metrics[0]) > 2


def test_resumed_run_rejects_changed_corpus_unless_allowed(
    wav_corpus: Path, tmp_path: Path
) -> None:
    corpus, run = tmp_path / "corpus", tmp_path / "run"
    shutil.copytree(wav_corpus, corpus)
    cache = tmp_path / "cache"
    train(configuration(run, cache, corpus, "model=mlp", "epochs=1"))
    shutil.rmtree(corpus / "train" / "The Low Kettles - Ash And Ember")
    resumed = configuration(run, cache, corpus, "model=mlp", "epochs=2", f"resume={run}")
    with pytest.raises(InputError, match=r"removed: train/The Low Kettles.*allow_changed_corpus"):
        train(resumed)
    allowed = resumed.copy()
    allowed.allow_changed_corpus = True
    metrics = rows(run)
    with (
        FileLock(run / LOCK),  # like that of another process
        pytest.raises(InputError, match="another process trains this run"),
    ):
        train(allowed)
    assert rows(run) == metrics
    train(allowed)
    result = json.loads((run / "result.json").read_text())
    assert result["trained_on"]["songs"] == 1
    assert result["trained_on"]["songs_changed_at_steps"] == [4]  # 2 songs × 4 excerpts / batch 2
    assert not saved(run).allow_changed_corpus  # it holds for one command only
    allowed.trainer.max_steps = 3  # fewer than the steps already taken
    with pytest.raises(InputError, match=r"is already trained for \d+ steps; set trainer.max"):
        train(allowed)
    assert saved(run).trainer.max_steps == -1


def test_run_that_cannot_be_resumed_stays_unchanged(wav_corpus: Path, tmp_path: Path) -> None:
    run, cache = tmp_path / "run", tmp_path / "cache"
    common = ("model=mlp", "scheduler=one_cycle")
    train(configuration(run, cache, wav_corpus, *common, "epochs=1"))
    files = {path: path.read_bytes() for path in run.iterdir() if path.suffix in (".yaml", ".csv")}
    files[run / "songs.json"] = (run / "songs.json").read_bytes()
    longer = configuration(run, cache, wav_corpus, *common, "epochs=3", f"resume={run}")
    with pytest.raises(InputError, match="the learning rate cycle ends after"):
        train(longer)
    assert {path: path.read_bytes() for path in files} == files


def test_folder_with_a_run_is_refused_for_a_new_run(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()  # of a run that was interrupted before its first checkpoint
    check_unused(tmp_path)
    (tmp_path / "last.ckpt").touch()
    with pytest.raises(InputError, match=rf"already contains a run; .*resume={tmp_path}"):
        check_unused(tmp_path)


def test_one_cycle_spans_the_training(wav_corpus: Path, tmp_path: Path) -> None:
    config = configuration(
        tmp_path / "run",
        tmp_path / "cache",
        wav_corpus,
        *("model=mlp", "scheduler=one_cycle", "optimizer.lr=0.01", "epochs=2"),
    )
    train(config)
    last = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    (scheduler,) = last["lr_schedulers"]
    assert scheduler["total_steps"] == last["global_step"] == scheduler["last_epoch"] > 2


def test_ctrl_c_inside_lightning_raises_keyboard_interrupt() -> None:
    def as_lightning_does() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    with pytest.raises(KeyboardInterrupt), lightning_signals():
        as_lightning_does()
    with pytest.raises(SystemExit), lightning_signals():
        sys.exit(1)


def test_interrupt_message_names_the_resume_command(tmp_path: Path) -> None:
    config = DictConfig({"resume": None, "run_dir": str(tmp_path / "my run")})
    assert after_interruption(config).startswith("interrupted before the first checkpoint")
    (tmp_path / "my run").mkdir()
    (tmp_path / "my run" / "last.ckpt").touch()
    quoted = f"'resume={tmp_path}/my run'"
    assert after_interruption(config) == f"interrupted; resume with: stemsplit train {quoted}"


def test_training_without_best_checkpoint_warns_that_nothing_is_scored(
    tmp_path: Path, wav_corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    overrides = ["model=mlp", "epochs=1", "chunks_per_track=1", "callbacks.best=null"]
    overrides.append("logger.csv=null")
    train(configuration(run, tmp_path / "cache", wav_corpus, *overrides, "logger=csv"))
    errors = capsys.readouterr().err
    assert "callbacks.best=null: no best.ckpt will be written, so nothing will be scored" in errors
    assert f"{run}: has no best.ckpt, so nothing is scored" in errors
    assert not (run / "result.json").exists()
    assert not (run / "metrics.csv").exists()
