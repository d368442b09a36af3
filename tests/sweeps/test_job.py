"""A job of a sweep starts, resumes or skips its trial."""

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from stemsplit.errors import InputError
from stemsplit.sweeps.job import run_job


@pytest.mark.parametrize(
    ("files", "resumed"),
    [([], [None]), (["last.ckpt"], ["RUN"]), (["last.ckpt", "result.json"], [])],
)
def test_trial_starts_resumes_or_is_skipped(
    files: list[str], resumed: list[str | None], tmp_path: Path
) -> None:
    for name in files:
        (tmp_path / name).touch()
    (tmp_path / "config.yaml").write_text("run_dir: RUN\n")
    trained = []
    run_job(config(tmp_path), lambda config: trained.append(config.resume))
    assert trained == [None if run is None else str(tmp_path) for run in resumed]


def test_resumed_trial_keeps_the_absolute_path_of_its_weights(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").touch()
    (tmp_path / "config.yaml").write_text("run_dir: RUN\nweights: '/a \\${b}/best.ckpt'\n")
    trained = []
    trial = config(tmp_path)
    trial.weights = "b"
    run_job(trial, lambda config: trained.append(config.weights))
    assert trained == ["/a ${b}/best.ckpt"]


def test_several_processes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="runs in one process"):
        run_job(config(tmp_path, devices=2), lambda config: None)


def config(run: Path, devices: int = 1) -> DictConfig:
    trainer = {"devices": devices, "num_nodes": 1}
    return OmegaConf.create({"trainer": trainer, "run_dir": str(run), "resume": None})
