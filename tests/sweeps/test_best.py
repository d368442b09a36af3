"""best.yaml holds the settings of the best trial, for tuned= and for Hydra."""

import shutil
from pathlib import Path

import pytest
from commands import TINY, run, start
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from stemsplit import configuration
from stemsplit.command_line.composition import composed
from stemsplit.command_line.prepared import prepared
from stemsplit.configuration import CONF
from stemsplit.sweeps.best import write_best
from stemsplit.sweeps.record import DEFINITION
from stemsplit.sweeps.search_space import propose, values_of, words_of
from stemsplit.sweeps.study import create_study

configuration.register_resolvers()


def test_every_type_of_value_is_written(tmp_path: Path) -> None:
    line = "setting=null,true,2,1e-5,word,'a b, c',[1,2],{a:1},2"
    [override] = OverridesParser.create().parse_overrides([line])
    values = values_of(override)
    assert len(values) == 8  # 2 once
    study = create_study(tmp_path)
    study.set_user_attr(DEFINITION, {"words": []})
    for value in values:
        study.enqueue_trial({"setting": value})
    plain = [None, True, 2, 1e-5, "word", "a b, c", [1, 2], {"a": 1}]
    for number, expected in enumerate(plain):
        trial = study.ask()
        propose(trial, {"setting": values})
        study.tell(trial, number)
        [override] = OverridesParser.create().parse_overrides(words_of(study.best_params))
        assert override.value() == expected
        write_best(study, tmp_path / "best.yaml", [])
        assert OmegaConf.load(tmp_path / "best.yaml") == {"setting": expected}


def test_comment_is_the_command_for_the_full_set(tmp_path: Path) -> None:
    study = create_study(tmp_path)
    words = ["+sweep=lr_decay", "++data.downsample.chunks=0.5", "model=mlp", "sweep.name=a"]
    words.append("data.root='/my songs'")
    study.set_user_attr(DEFINITION, {"words": [*words, "optimizer.weight_decay=0"]})
    trial = study.ask()
    propose(trial, {"optimizer.lr": [1e-3]})
    study.tell(trial, 1.0)
    write_best(study, tmp_path / "best.yaml", ["optimizer.weight_decay"])
    command = (tmp_path / "best.yaml").read_text().splitlines()[1].split("stemsplit train ")[1]
    assert command == f"model=mlp 'data.root=/my songs' tuned={tmp_path / 'best.yaml'}"
    found = OmegaConf.load(tmp_path / "best.yaml")
    assert found == {"optimizer": {"weight_decay": 0, "lr": 1e-3}}


@pytest.mark.parametrize("weights", ["runs/a", "umxhq", "/runs/a", None])
def test_path_of_weights_is_absolute(
    weights: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = create_study(tmp_path)
    study.set_user_attr(DEFINITION, {"words": []})
    trial = study.ask()
    propose(trial, {"weights": [weights if weights is None else f"'{weights}'"]})
    study.tell(trial, 1.0)
    write_best(study, tmp_path / "best.yaml", [])
    expected = f"{tmp_path}/runs/a" if weights == "runs/a" else weights
    assert OmegaConf.load(tmp_path / "best.yaml") == {"weights": expected}


@pytest.fixture
def best(tmp_path: Path) -> Path:
    """The best.yaml of a sweep over optimizers, their settings and a setting that conf/ lacks."""
    study = create_study(tmp_path)
    study.set_user_attr(DEFINITION, {"words": ["scheduler=one_cycle", "scheduler.max_lr=0.02"]})
    trial = study.ask()
    propose(trial, {"optimizer": ["adamw"], "optimizer.lr": [4e-3], "+optimizer.amsgrad": [True]})
    study.tell(trial, 1.0)
    write_best(study, tmp_path / "best.yaml", ["scheduler", "scheduler.max_lr"])
    return tmp_path / "best.yaml"


def assert_is_best(config: DictConfig) -> None:
    assert config.optimizer._target_ == "torch.optim.AdamW"
    assert config.scheduler._target_ == "torch.optim.lr_scheduler.OneCycleLR"
    assert (config.optimizer.lr, config.optimizer.amsgrad) == (4e-3, True)
    assert config.scheduler.max_lr == 0.02


def test_hydra_composes_the_file_as_an_experiment(best: Path, tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    shutil.copy(best, tmp_path / "experiments/found.yaml")
    with initialize_config_dir(config_dir=CONF):
        search = f"hydra.searchpath=[file://{tmp_path}]"
        assert_is_best(compose("train", [search, "experiments=found"]))


def test_tuned_does_the_same_and_is_recorded(best: Path) -> None:
    arguments, *_ = prepared("train", [f"tuned={best}"])
    with composed("train", arguments) as config:
        assert_is_best(config)
        assert config.tuned == str(best)


def test_file_of_an_older_version_trains(place: Path, corpus: list[str]) -> None:
    best = place / "best.yaml"
    best.write_text(
        "optimizer: adamw\noptimizer.lr: 0.004\nscheduler.factor: 0.2\n+optimizer.amsgrad: true\n"
    )
    tuned = [
        f"tuned={best}",
        "scheduler.factor=0.7",
        "epochs=1",
        f"hydra.run.dir={place / 'tuned'}",
    ]
    run(place, "train", "model=mlp", *corpus, *TINY, *tuned)
    config = OmegaConf.load(place / "tuned/config.yaml")
    assert config.optimizer.lr == 0.004
    assert config.optimizer.amsgrad
    assert config.optimizer._target_.endswith("AdamW")
    assert config.scheduler.factor == 0.7  # the command line has the last word
    for settings, says in (
        ("optimizer.momentum: 0.9\n", "unexpected keyword argument 'momentum'"),
        ("optimizer.lr: [\n", "is damaged"),
        ("", "holds no settings"),
    ):
        best.write_text(settings)
        process = start(place, "train", f"tuned={best}", *corpus, *TINY)
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 1
        assert says in errors
        assert str(best) in output + errors
