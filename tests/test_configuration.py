"""A run keeps its configuration, and a resumed one takes what the command line says."""

import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from stemsplit import configuration
from stemsplit.configuration import CONF
from stemsplit.errors import InputError

configuration.register_resolvers()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run, with its configuration."""
    folder = tmp_path / "run"
    with initialize_config_dir(config_dir=CONF):
        config = compose("train", overrides=["data=musdb18", f"data.root={tmp_path}/run_songs"])
    for key, value in {"run_dir": str(folder), "name": "mel_blstm", "corpus": "musdb18"}.items():
        config[key] = value
    configuration.save(config, folder)
    return folder


def changed(run: Path, *overrides: str) -> DictConfig:
    config = configuration.saved(run)
    configuration.override(config, list(overrides))
    return config


def test_what_follows_from_a_setting_follows_it_on_resuming_too(run: Path) -> None:
    config = changed(run, "epochs=6", "patience=3")
    assert config.trainer.max_epochs == 6
    assert config.callbacks.early_stopping.patience == 3
    assert changed(run, "trainer.max_epochs=7").trainer.max_epochs == 7


@pytest.mark.parametrize(
    "given",
    [
        *("nonsense=1", "trainer.nonsense=1", "+new=1", "~scheduler", "model=open_unmix"),
        *("optimizer.lr=0.5", "targets=[drums]", "data.batch_size=3", "model.normalise=false"),
    ],
)
def test_what_a_resumed_run_cannot_change_is_named(run: Path, given: str) -> None:
    with pytest.raises(InputError, match=re.escape(given)):
        changed(run, given)


def test_what_was_changed_on_resuming_stays_changed(run: Path) -> None:
    config = changed(run, "epochs=6")
    config.resume = str(run)
    configuration.save(config, run)
    again = configuration.saved(run)
    assert again.trainer.max_epochs == 6
    assert again.resume is None


def test_a_moved_run_finds_its_own_folder_and_the_same_songs(run: Path, tmp_path: Path) -> None:
    moved = run.rename(tmp_path / "Mine: # 1's")
    config = configuration.saved(moved)
    assert config.callbacks.best.dirpath == config.run_dir == str(moved)
    assert config.data.root == f"{tmp_path}/run_songs"


@pytest.mark.parametrize("text", ["", "[1, 2]", "epochs: 3"])
def test_another_file_is_not_taken_for_a_configuration(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=str(tmp_path)):
        configuration.saved(tmp_path)


def test_a_resumed_run_takes_the_cache_of_this_machine(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / "last.ckpt").touch()
    there, here = tmp_path / "there", str(tmp_path / "here")
    config = configuration.saved(run)
    config.data.cache, config.data.root = str(there), str(there / "demo")
    configuration.save(config, run)

    def resumed(*words: str) -> tuple[str, str | None]:
        config = configuration.resumed(str(run), words, here)
        return config.data.cache, config.data.root

    monkeypatch.delenv("STEMSPLIT_CACHE", raising=False)
    assert resumed() == (here, f"{here}/demo")  # the run comes from another machine
    (there / "demo").mkdir(parents=True)
    assert resumed() == (str(there), str(there / "demo"))
    assert resumed(f"data.cache={here}") == (here, str(there / "demo"))
    assert resumed(f"data.cache={here}", "data.root=null") == (here, None)
    monkeypatch.setenv("STEMSPLIT_CACHE", here)
    assert resumed() == (here, str(there / "demo"))
