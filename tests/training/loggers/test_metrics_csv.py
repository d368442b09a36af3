"""``metrics.csv`` keeps every metric of a run, also after resuming."""

import csv
from pathlib import Path

import pytest

from stemsplit.training.loggers.metrics_csv import MetricsCsv


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def reopened(tmp_path: Path) -> MetricsCsv:
    """A log of three epochs of ten steps, opened again."""
    log = MetricsCsv(str(tmp_path))
    for epoch, step in enumerate([9, 19, 29]):
        log.log_metrics({"train/loss": 1 / (1 + epoch), "epoch": epoch}, step)
    return MetricsCsv(str(tmp_path))


def test_reopened_log_keeps_rows_and_adds_columns(reopened: MetricsCsv, tmp_path: Path) -> None:
    reopened.log_metrics({"train/loss": 0.25, "validation/sdr/vocals": 5.5, "epoch": 3}, 39)
    rows = table(tmp_path)
    assert [row["step"] for row in rows] == ["9", "19", "29", "39"]
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    assert [float(row["train/loss"]) for row in rows] == [1, 1 / 2, 1 / 3, 1 / 4]
    assert [row["validation/sdr/vocals"] for row in rows] == ["", "", "", "5.5"]


def test_metrics_of_one_step_share_a_row(reopened: MetricsCsv, tmp_path: Path) -> None:
    reopened.log_metrics({"validation/loss": 2.0, "epoch": 2}, 29)
    reopened.log_metrics({"lr": 0.001, "epoch": 2}, 29)
    rows = table(tmp_path)
    assert len(rows) == 3
    assert rows[-1] == {
        "step": "29",
        "epoch": "2",
        "train/loss": repr(1 / 3),
        "validation/loss": "2.0",
        "lr": "0.001",
    }


@pytest.mark.parametrize(("step", "left"), [(30, 3), (29, 2), (20, 2), (10, 1), (0, 0)])
def test_repeated_steps_replace_their_rows(
    reopened: MetricsCsv, tmp_path: Path, step: int, left: int
) -> None:
    reopened.forget_from(step)
    assert [row["step"] for row in table(tmp_path)] == ["9", "19", "29"][:left]
    reopened.log_metrics({"train/loss": 0.5, "epoch": left}, 100)
    assert [row["step"] for row in table(tmp_path)] == [*["9", "19", "29"][:left], "100"]


def test_metrics_without_step_or_epoch_are_kept(tmp_path: Path) -> None:
    log = MetricsCsv(str(tmp_path))
    log.log_metrics({"score/valid/vocals/SDR": 6.25})
    log.log_metrics({"score/valid/vocals/SIR": float("nan")})
    assert len(table(tmp_path)) == 1
    (row,) = MetricsCsv(str(tmp_path)).rows
    assert row["score/valid/vocals/SDR"] == "6.25"
    assert row["score/valid/vocals/SIR"] == "nan"


def test_failed_write_keeps_the_file(
    reopened: MetricsCsv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = table(tmp_path)

    def full_disk(*args: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(csv.DictWriter, "writerows", full_disk)
    with pytest.raises(OSError, match="no space left"):
        reopened.log_metrics({"train/loss": 0.5, "epoch": 3}, 39)
    assert table(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]
