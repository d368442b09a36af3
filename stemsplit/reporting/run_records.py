"""Read the files in a run's folder for a report."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from stemsplit.errors import InputError
from stemsplit.reporting.documents import EXCERPTS, RESULT, read_json

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
        targets = self.config.get("targets") or ["vocals"]
        return [targets] if isinstance(targets, str) else targets

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
    try:
        text = place.read_text(encoding="utf-8")
        config = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{place}: is damaged ({str(error).splitlines()[0]})") from None
    if not isinstance(config, dict):
        raise InputError(f"{place}: is damaged: it holds no settings")
    if not isinstance(config.get("targets"), list | str | None):
        raise InputError(f"{place}: is damaged: targets={config['targets']} names no stems")
    metrics, epochs = read_metrics(folder / "metrics.csv")
    results = {}
    for label, path in {
        "validation": folder / "result.json",
        "test": folder / "test/result.json",
        **{path.parent.name: path for path in sorted(folder.glob("evaluations/*/result.json"))},
    }.items():
        # A file may hold no more than how often it was scored.
        if path.is_file() and "scores" in read_json(path, {}):
            results[label] = read_json(path, RESULT)
    name = name or folder.resolve().name
    index = folder / "excerpts/index.json"
    excerpts = read_json(index, EXCERPTS)["excerpts"] if index.is_file() else []
    return RunRecord(folder, name, config, text, metrics, epochs, results, excerpts)


def read_metrics(path: Path) -> tuple[dict[str, Points], int]:
    """Every metric over its steps, and how many epochs were trained; nothing without a file."""
    metrics: dict[str, Points] = {}
    epochs = 0
    if not path.is_file():
        return metrics, epochs
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is damaged ({error})") from None
    for number, row in enumerate(rows, 2):
        try:
            step = float(row.pop("step"))
            epoch = row.pop("epoch")
            values = {name: float(value) for name, value in row.items() if value}
            trained = int(epoch) + 1 if "train/loss" in values and epoch else 0
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: line {number} is damaged ({error})") from None
        for name, value in values.items():
            metrics.setdefault(name, []).append((step, value))
        epochs = max(epochs, trained)
    return metrics, epochs


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
