"""Configurations of runs are saved, loaded, and changed by the command line on resuming."""

import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from stemsplit import configuration
from stemsplit.command_line import resumption
from stemsplit.configuration import CONF
from stemsplit.errors import InputError

configuration.register_resolvers()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with a configuration."""
    folder = tmp_path / "run"
    with initialize_config_dir(config_dir=CONF):
        config = compose("train", overrides=["data=musdb18", f"data.root={tmp_path}/run_songs"])
    for key, value in {"run_dir": str(folder), "name": "mel_blstm", "corpus": "musdb18"}.items():
        config[key] = value
    configuration.save(config, folder)
    return folder


def changed(run: Path, *overrides: str) -> DictConfig:
    config = configuration.saved(run)
    resumption.override(config, list(overrides))
    return config


def test_resumed_run_keeps_references_between_settings(run: Path) -> None:
    config = changed(run, "epochs=6", "patience=3")
    assert config.trainer.max_epochs == 6
    assert config.callbacks.early_stopping.patience == 3
    assert changed(run, "trainer.max_epochs=7").trainer.max_epochs == 7


def test_callback_can_be_turned_off_on_resuming(run: Path) -> None:
    assert changed(run, "callbacks.early_stopping=null").callbacks.early_stopping is None
    for group in ("callbacks=null", "trainer=null"):
        with pytest.raises(InputError, match="cannot replace the group"):
            changed(run, group)


@pytest.mark.parametrize(
    "override",
    [
        *("nonsense=1", "trainer.nonsense=1", "+new=1", "~scheduler", "model=open_unmix"),
        *("optimizer.lr=0.5", "targets=[drums]", "data.batch_size=3", "model.normalise=false"),
    ],
)
def test_fixed_settings_of_resumed_run_are_rejected(run: Path, override: str) -> None:
    with pytest.raises(InputError, match=re.escape(override)):
        changed(run, override)


def test_settings_changed_on_resuming_are_saved(run: Path) -> None:
    config = changed(run, "epochs=6")
    config.resume = str(run)
    configuration.save(config, run)
    reloaded = configuration.saved(run)
    assert reloaded.trainer.max_epochs == 6
    assert reloaded.resume is None


def test_moved_run_finds_its_folder_and_corpus(run: Path, tmp_path: Path) -> None:
    moved = run.rename(tmp_path / "Mine: # 1's")
    config = configuration.saved(moved)
    assert config.callbacks.best.dirpath == config.run_dir == str(moved)
    assert config.data.root == f"{tmp_path}/run_songs"


@pytest.mark.parametrize("text", ["", "[1, 2]", "epochs: 3"])
def test_invalid_configuration_file_is_rejected(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=str(tmp_path)):
        configuration.saved(tmp_path)


def test_resumed_run_uses_the_cache_of_this_machine(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / "last.ckpt").touch()
    old, new = tmp_path / "old", str(tmp_path / "new")
    config = configuration.saved(run)
    config.data.cache, config.data.root = str(old), str(old / "demo")
    configuration.save(config, run)

    def resumed(*words: str) -> tuple[str, str | None]:
        config = resumption.resumed(str(run), words, new)
        return config.data.cache, config.data.root

    monkeypatch.delenv("STEMSPLIT_CACHE", raising=False)
    assert resumed() == (new, f"{new}/demo")  # the old cache is on another machine
    (old / "demo").mkdir(parents=True)
    assert resumed() == (str(old), str(old / "demo"))
    assert resumed(f"data.cache={new}") == (new, str(old / "demo"))
    assert resumed(f"data.cache={new}", "data.root=null") == (new, None)
    monkeypatch.setenv("STEMSPLIT_CACHE", new)
    assert resumed() == (new, str(old / "demo"))
