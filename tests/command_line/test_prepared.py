"""An invalid setting ends a command with one line and leaves no folder."""

import os
import re
import shlex
import signal
from pathlib import Path

import pytest

from stemsplit import configuration, train
from stemsplit.command_line.composition import composed
from stemsplit.command_line.prepared import prepared
from stemsplit.data.datamodule import StemDataModule
from stemsplit.errors import InputError

configuration.register_resolvers()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, which is empty."""
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("STEMSPLIT_CACHE", str(tmp_path / "cache"))
    return place


@pytest.mark.parametrize(
    ("command", "words", "says"),
    [
        ("train", "optimizer.lr=abc", "optimizer.lr=abc: choose a number above 0"),
        ("train", "trainer.max_epochs=x", "trainer.max_epochs=x: choose an integer"),
        ("train", "epochs=0", "epochs=0: choose an integer of at least 1, or -1 for no limit"),
        ("train", "model=xyz", "model=xyz: unknown choice; choose one of band_split, "),
        ("train", "experiments=xyz", "experiments=xyz: unknown choice; choose one of "),
        ("train", "hydra/launcher=xyz", "or install others: pip install --editable '.[cluster]'"),
        ("train", "optimiser.lr=1", "optimiser.lr=1: unknown setting; did you mean opti"),
        ("train", "optimiser=adam", "optimiser=adam: unknown setting; did you mean opti"),
        ("train", "+nonsense=1", "nonsense=1: unknown setting"),
        ("train", "optimizer=5", "optimizer=5: choose one of adam, adamw"),
        ("train", "data=null", "data=null: choose one of demo, folder, "),
        ("train", "epochs=\\'3\\'", "epochs='3': choose an integer of at least 1"),
        ("train", "corpus=null", "corpus=null: choose a name"),
        ("train", "model=[mlp,lstm]", "model=[mlp,lstm]: choose one of band_split, "),
        ("train", "lr=1e-3", "lr=1e-3: unknown setting; did you mean optimizer.lr?"),
        ("train", "=3", "=3: not a setting; expected SETTING=VALUE"),
        ("train", "+epochs=3", "+epochs=3: the setting already exists; write epochs=3"),
        (
            "train",
            "scheduler=one_cycle scheduler.factor=1",
            "factor=1: the chosen scheduler has no",
        ),
        (
            "train",
            "+trainer.x=1 scheduler.max_lr=1",
            "scheduler.max_lr=1: the chosen sc",
        ),
        ("train", "~optimizer.nosuch", "~optimizer.nosuch: unknown setting; did you mean"),
        (
            "train",
            "scheduler.max_lr=1",
            "scheduler.max_lr=1: the chosen scheduler has no such",
        ),
        ("train", "model.separator.network=null", "model.separator.network=null: this group is"),
        ("train", "model.loss=null", "model.loss=null: this group is required"),
        ("train", "data.downsample=null", "data.downsample=null: this group is required"),
        ("train", "tuned=''", "tuned=: choose the best.yaml of a sweep"),
        ("train", "~model", "~model: choose one of band_split, "),
        ("train", "model=mlp,lstm", "model=mlp,lstm: several values need a sweep; add -m"),
        ("train", "seed=1,2", "seed=1,2: several values need a sweep; add -m"),
        ("train", "data.lister=5", "data.lister=5: choose a corpus with data=NAME"),
        ("train", "data.root=''", "data.root='': choose a path (quote it if it has only digits)"),
        ("train", "hydra.run.dir=null", "hydra.run.dir=null: field 'hydra.run.dir' is not Option"),
        ("train", "callbacks.best.filename=a/b", "callbacks.best.filename=a/b: choose best, bec"),
        (
            "train",
            "--multirunn",
            "--multirunn: unknown option; did you mean --multirun or --run?",
        ),
        ("train", "-x seed=1", "-x: unknown option"),
        ("train", "epochs", "epochs: not a setting; expected SETTING=VALUE"),
        (
            "train",
            "name=a=b",
            "name=a=b: invalid value; quote special characters, as in \"name='VALUE'\"",
        ),
        ("train", "resume=a/b", "a/b: is not a run folder"),
        ("train", "resume=a/b epochs=x", "epochs=x: choose an integer"),
        ("train", "tuned=a/b.yaml", "a/b.yaml: No such file"),
        (
            "train",
            "seed='${nowhere}'",
            "seed: cannot be used: Interpolation key 'nowhere' not found",
        ),
        ("train", "data.downsample.rate=0.3", "data.downsample.rate 0.3 turns"),
        ("train", "-m optimizer.lr=1e-3,x", "optimizer.lr=x: choose a number above 0"),
        ("train", "-m 'optimizer.lr=range(1,1)'", "optimizer.lr=range(1,1): has no values"),
        ("train", "-m resume=a/b seed=1,2", "resume= continues a single run"),
        ("train", "-m weights=umxhq,no/run", "no/run: neither a checkpoint nor a run's folder"),
        ("train", "-m model=mlp,xyz", "model=xyz: unknown choice"),
        ("train", "-m +sweep=lr_decay hydra.sweeper.jobs=x", "hydra.sweeper.jobs=x: choose"),
        ("evaluate", "checkpoint=A subset=train", "subset=train: choose test or valid"),
        ("evaluate", "checkpoint=A data=xyz", "data=xyz: unknown choice"),
        ("doctor", "data=musdb18 json=maybe", "json=maybe: choose true or false"),
        ("doctor", "data=musdb18 chanels=1", "chanels=1: unknown setting; did you mean c"),
    ],
)
def test_setting_error_is_one_line(command: str, words: str, says: str, folder: Path) -> None:
    with pytest.raises(InputError, match=re.escape(says)) as error:
        prepared(command, shlex.split(words))
    assert "\n" not in str(error.value)
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["+trainer.nonsense=1"], "trainer: cannot be used: Trainer.__init__() got an unexp"),
        (["trainer.strategy=fsdp", "trainer.accelerator=cpu"], "fsdp"),
        (["+callbacks.timing.nonsense=1"], "nonsense"),
        (["name=a/b"], "a system cannot be called 'a/b'"),
        (["name=mixture"], "name=mixture: this is the name of a baseline"),
        (["loss._target_=null"], "loss: cannot be used: "),
        (["trainer.devices=9999", "trainer.accelerator=cpu"], "trainer.devices=9999: this mach"),
        (["chunk_seconds=0.001"], "chunk_seconds 0.001 is 44 samples, less than the window"),
        (["+optimizer.nonsense=1"], "nonsense"),
        (["+optimizer.betas=[5,5]"], "beta"),
        (["+scheduler.nonsense=1"], "scheduler: "),
        (["+scheduler.threshold=abc"], "scheduler: "),
        (["scheduler=one_cycle", "+scheduler.div_factor=0"], "scheduler: "),
        (["scheduler=one_cycle", "epochs=-1"], "scheduler: OneCycleLR needs the length of"),
        (["+loss.function.nonsense=1"], "loss: "),
        (["loss=multi_resolution_stft", "loss.function.hop=5000"], "hop 5000 does not fit w"),
        (
            ["loss.residual=null", "loss.mixture_consistent=true"],
            "loss.residual=null: the targets alone",
        ),
        (["callbacks.best.monitor=foo"], "callbacks.best.monitor=foo: unknown metric; choose one"),
        (["callbacks.early_stopping.monitor=validation/sdr/drums"], "choose one of train/loss, "),
        (["callbacks.best.dirpath=elsewhere"], "checkpoints must be in the run folder"),
        (["data.targets=[drums]"], "data.targets ['drums'] must be the same as targets ['vocals']"),
        (["model.separator.targets=[drums]"], "model.separator.targets ['drums'] must be the same"),
        (["hop=1000"], "hop 1000 does not divide window 4096"),
        (["resume=a/b"], "a/b: is not a run folder"),
        (["data=folder", "data.root=12345"], "12345"),
        (["data=folder", "data.root=日本 a=b"], "日本 a=b"),
        (["hydra.run.dir=new/file/run"], "is not writable"),
        (["data.cache=new/file/cache"], "is not a folder"),
    ],
)
def test_refused_training_leaves_no_folder(
    words: list[str],
    says: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / "new").mkdir()
    (folder / "new/file").touch()
    words = [*words, "model=mlp", "model.separator.network.hidden=8", "logger=csv"]
    monkeypatch.setattr("sys.argv", ["train", *words])
    with pytest.raises(SystemExit) as ended:
        train.main()
    assert ended.value.code == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert {path.name for path in folder.rglob("*")} == {"new", "file"}
    assert not (folder.parent / "cache").exists()


def test_sigterm_before_the_first_step_leaves_no_folder(
    folder: Path, wav_corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(data: StemDataModule) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(StemDataModule, "prepare_data", decode)
    words = ["model=mlp", "model.separator.network.hidden=8", "data=musdb18hq"]
    monkeypatch.setattr("sys.argv", ["train", *words, f"data.root={wav_corpus}"])
    with pytest.raises(SystemExit) as ended:
        train.main()
    assert ended.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert not list(folder.iterdir())


def test_unwritable_cache_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match=r"is not writable; choose another one with data\.cache="):
        prepared("train", ["data=musdb18"])


def test_read_only_cache_is_accepted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder.parent / "cache").mkdir()  # it may already hold all songs
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert prepared("train", ["data=musdb18"]).arguments[0] == "data=musdb18"


@pytest.mark.parametrize(
    ("command", "word", "same_as"),
    [
        ("train", "scheduler=null", "~scheduler"),
        ("train", "experiments=null", "seed=0"),
        ("evaluate", "data=null", "seed=0"),
    ],
)
def test_null_leaves_out_an_optional_group(command: str, word: str, same_as: str) -> None:
    words, *_ = prepared(command, [word, "seed=0"])
    expected, *_ = prepared(command, [same_as, "seed=0"])
    assert [setting for setting in words if not setting.startswith("hydra.run.dir")] == list(
        dict.fromkeys(setting for setting in expected if not setting.startswith("hydra.run.dir"))
    )


def test_folder_of_a_run_is_decided_once(folder: Path) -> None:
    arguments, run, _ = prepared("train", ["hydra.run.dir=runs/日本 a=b", "seed=1"])
    assert run == folder / "runs/日本 a=b"
    assert arguments == ["seed=1", f"hydra.run.dir='{run}'"]
    with composed("train", arguments) as config:
        assert config.run_dir == str(run)


def test_options_of_hydra_are_passed_on() -> None:
    assert prepared("train", ["--cfg", "job", "epochs=x"]).arguments == ["--cfg", "job", "epochs=x"]


@pytest.mark.parametrize("corpus", ["musdb18", "musdb18hq", "mir1k"])
@pytest.mark.parametrize("value", ["", "/songs", None])
def test_empty_environment_variable_counts_as_unset(
    corpus: str, value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MUSDB_PATH", "MIR1K_PATH", "STEMSPLIT_CACHE"):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    with composed("doctor", [f"data={corpus}"]) as config:
        assert config.data.root == (value or None)
        assert config.data.cache == (value or "~/.cache/stemsplit")
