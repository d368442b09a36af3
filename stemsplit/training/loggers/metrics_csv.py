"""Logger that writes ``metrics.csv`` and continues it when the run is resumed."""

import csv
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from stemsplit.files import replacing


class MetricsCsv(Logger):
    """Writes ``metrics.csv`` with one row per logged step and one column per metric.

    Unlike Lightning's `CSVLogger`, it keeps existing rows when a run is resumed.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self.rows: list[dict[str, str]] = []
        self.columns: list[str] = []  # columns of the file; empty until this process has written it
        if self.path.is_file():
            with self.path.open(newline="") as file:
                self.rows = list(csv.DictReader(file))

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def forget_from(self, step: int) -> None:
        """Drop the rows of `step` and of all later steps, because a resumed run repeats them.

        The file numbers the steps from 0.
        """
        self.rows = [row for row in self.rows if int(row["step"]) < step]
        self._write()

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run folder has the configuration in ``config.yaml``."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        values = {name: repr(float(value)) for name, value in metrics.items() if name != "epoch"}
        epoch = metrics.get("epoch")
        position = {"step": str(step or 0), "epoch": "" if epoch is None else str(int(epoch))}
        last = self.rows[-1] if self.rows else {}
        # Lightning logs training and validation metrics of a step separately. They are merged into
        # one row.
        if {name: last.get(name) for name in position} == position:
            last.update(values)
            self._write()
        else:
            self.rows.append({**position, **values})
            self._append()

    def _append(self) -> None:
        """Append the last row, or rewrite the file if the row has a new column."""
        if not set(self.rows[-1]) <= set(self.columns):
            self._write()
            return
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self.columns).writerow(self.rows[-1])

    def _write(self) -> None:
        self.columns = list(dict.fromkeys(name for row in self.rows for name in row))
        with replacing(self.path) as partial, partial.open("w", newline="") as file:
            table = csv.DictWriter(file, self.columns)
            table.writeheader()
            table.writerows(self.rows)
