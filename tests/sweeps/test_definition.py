"""A sweep is defined by the command line and conf/sweep, and checked before it starts."""

import re
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from stemsplit import train
from stemsplit.errors import InputError
from stemsplit.sweeps.definition import Definition, define
from stemsplit.sweeps.record import differences_between, record, recorded_words
from stemsplit.sweeps.search_space import covering_jobs
from stemsplit.sweeps.study import create_study

LOG_FROM_0 = "optimizer.lr=tag(log,interval(0,1e-2))"
PARAMS = {"optimizer.lr": "1e-4,1e-3", "scheduler.factor": "0.1,0.3,0.8"}


def defined(*words: str, sampler: str = "grid", trials: int | None = None) -> Definition:
    parser = OverridesParser.create()
    return define(words, PARAMS, parser, sampler=sampler, trials=trials, jobs=1, seed=0)


def test_command_line_replaces_the_values_of_the_sweep() -> None:
    definition = defined("optimizer.lr=0.01", "optimizer.weight_decay=0,1e-5", "epochs=3")
    assert definition.axes == {
        "scheduler.factor": [0.1, 0.3, 0.8],
        "optimizer.weight_decay": [0, 1e-5],
    }
    assert definition.words == ["optimizer.lr=0.01", "epochs=3"]
    assert definition.trials == 6


def test_examples_have_every_value() -> None:
    assert defined().examples() == [
        {"optimizer.lr": 1e-4, "scheduler.factor": 0.1},
        {"optimizer.lr": 1e-3, "scheduler.factor": 0.1},
        {"optimizer.lr": 1e-4, "scheduler.factor": 0.1},
        {"optimizer.lr": 1e-4, "scheduler.factor": 0.3},
        {"optimizer.lr": 1e-4, "scheduler.factor": 0.8},
    ]
    interval = defined("optimizer.lr=interval(1,2)", sampler="tpe", trials=4)
    assert interval.examples()[0] == {"optimizer.lr": 1, "scheduler.factor": 0.1}
    assert interval.trials == 4


def test_covering_jobs_are_as_few_as_possible() -> None:
    overrides = OverridesParser.create().parse_overrides(["a=1,2,3", "b=interval(0,1)", "c=5"])
    assert covering_jobs(overrides) == [
        ["a=1", "b=0.0", "c=5"],
        ["a=2", "b=1.0", "c=5"],
        ["a=3", "b=1.0", "c=5"],
    ]


def test_unknown_sampler_is_named() -> None:
    with pytest.raises(InputError, match=re.escape("unknown sampler 'random'; choose grid or tpe")):
        defined(sampler="random")


def test_another_definition_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    study = create_study(tmp_path)
    record(study, defined("epochs=3", "hydra.sweeper.jobs=2"), {"epochs": "3"}, tmp_path)
    assert recorded_words(study) == ["epochs=3"]
    record(study, defined("epochs=3"), {"epochs": "3"}, tmp_path)
    with pytest.raises(
        InputError, match="epochs: 3 before, 4 now; patience: not set before, 9 now"
    ):
        record(study, defined("epochs=4"), {"epochs": "4", "patience": "9"}, tmp_path)


def test_moved_classes_do_not_differ() -> None:
    before, now = (
        {"settings": {"loss._target_": loss, "trainer.plugins": f"[{{'_target_': '{plugin}'}}]"}}
        for loss, plugin in (
            ("stemsplit.losses.l1", "stemsplit.training.checkpoints.AtomicCheckpointIO"),
            (
                "stemsplit.training.losses.l1",
                "stemsplit.training.callbacks.checkpoints.AtomicCheckpointIO",
            ),
        )
    )
    before["settings"]["data._target_"] = "stemsplit.data.datamodule.StemDataModule"
    assert not differences_between(before | {"tries": {}}, now | {"tries": {}})
    now["settings"]["loss._target_"] = "stemsplit.training.losses.si_sdr"
    assert len(differences_between(before | {"tries": {}}, now | {"tries": {}})) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["optimizer.lrr=1e-3,1e-4"], "optimizer.lrr"),
        (["model=mlp,mlpp", "sweep.name=several"], "mlpp"),
        (["model=mlp,lstm"], "sweep.name="),
        (["optimizer.lr=interval(1e-4,1e-2)"], "a grid needs a list of values"),
        (
            ["hydra.sweeper.sampler=tpe", "hydra.sweeper.trials=2", LOG_FROM_0],
            "choose a number above 0",
        ),
        (["hydra.sweeper.sampler=tpe"], "hydra.sweeper.trials"),
        (["hydra.sweeper.sampler=random"], "choose grid or tpe"),
        (["hydra.sweeper.jobs=0"], "at least 1"),
        (["hydra.sweeper.trials=3"], "a grid tries all combinations"),
        (["callbacks.trial.pruner=medain"], "choose median or halving, or null"),
        (
            ["callbacks.trial.monitor=validation/loss"],
            "choose validation/sdr/vocals",
        ),
        (["callbacks.trial=null"], "a sweep needs this callback"),
        (["evaluate_test=true"], "must not score the test songs"),
        (["data.downsample.songs=0.5,1"], "the same share of the data"),
        (["tuned=nowhere.yaml"], "nowhere.yaml: No such file"),
    ],
)
def test_invalid_sweep_is_refused_before_anything_is_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["train", "-m", "+sweep=lr_decay", *words])
    with pytest.raises(SystemExit) as ended:
        train.main()
    assert ended.value.code == 1
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
