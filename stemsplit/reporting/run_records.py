"""What a training left in its folder, read back for a report."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from stemsplit.errors import InputError
from stemsplit.training.excerpts import read_index

Points = list[tuple[float, float]]
# Settings that say where a run lies and not what it is.
PLACES = {"run_dir", "resume", "folder", "dirpath", "default_root_dir", "cache", "group"}


@dataclass(frozen=True)
class RunRecord:
    """`results` by what was scored, as ``result.json`` has them; `metrics` by name, over steps."""

    folder: Path
    name: str
    config: dict[str, Any]
    config_text: str
    metrics: dict[str, Points]
    epochs: int
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    excerpts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def model(self) -> str:
        return str(self.config.get("name", "?"))

    @property
    def targets(self) -> list[str]:
        return list(self.config.get("targets") or ["vocals"])

    def layers(self, kind: str, end: str = "") -> dict[str, Points]:
        """Sizes by layer, of ``norm/KIND/LAYER`` + `end`."""
        start = f"norm/{kind}/"
        return {
            name.removeprefix(start).removesuffix(end): points
            for name, points in self.metrics.items()
            if name.startswith(start)
            and (name.endswith(end) if end else not name.endswith(("/in", "/out")))
        }


def read_run(folder: Path, name: str | None = None) -> RunRecord:
    """Raises `InputError` for a folder that is not a run's, or a file that is damaged."""
    place = folder / "config.yaml"
    if not place.is_file():
        raise InputError(f"{folder}: not a run's folder, it holds no config.yaml")
    text = place.read_text()
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{place}: is damaged ({str(error).splitlines()[0]})") from None
    if not isinstance(config, dict):
        raise InputError(f"{place}: is damaged: it holds no settings")
    metrics, epochs = read_metrics(folder / "metrics.csv")
    results = {}
    for label, path in {
        "validation": folder / "result.json",
        "test": folder / "test/result.json",
        **{path.parent.name: path for path in sorted(folder.glob("evaluations/*/result.json"))},
    }.items():
        if path.is_file():
            result = read_json(path)
            if "scores" in result:  # a file may hold no more than how often it was scored
                results[label] = result
    name = name or folder.resolve().name
    excerpts = read_index(folder / "excerpts")
    return RunRecord(folder, name, config, text, metrics, epochs, results, excerpts)


def read_metrics(path: Path) -> tuple[dict[str, Points], int]:
    """Every metric over its steps, and how many epochs were trained; nothing without a file."""
    metrics: dict[str, Points] = {}
    epochs = 0
    if not path.is_file():
        return metrics, epochs
    with path.open(newline="") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            try:
                step = float(row.pop("step"))
                epoch = row.pop("epoch")
                values = {name: float(value) for name, value in row.items() if value}
            except (KeyError, TypeError, ValueError) as error:
                raise InputError(f"{path}: line {number} is damaged ({error})") from None
            for name, value in values.items():
                metrics.setdefault(name, []).append((step, value))
            if "train/loss" in values and epoch:
                epochs = max(epochs, int(epoch) + 1)
    return metrics, epochs


def read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path}: is damaged ({error})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: is damaged: it holds no results")
    return content


def differing(records: list[RunRecord]) -> dict[str, list[str]]:
    """The settings in which runs differ, and what each has there."""
    flat = [flattened(record.config) for record in records]
    names = dict.fromkeys(name for one in flat for name in one)
    return {
        name: values
        for name in names
        if not PLACES & set(name.split("."))
        and len(set(values := [one.get(name, "–") for one in flat])) > 1
    }


def flattened(config: Mapping[str, Any], inside: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flattened(value, f"{inside}{key}.")
        else:
            found[f"{inside}{key}"] = str(value)
    return found
