"""Read the files of a run's folder for a report."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from stemsplit.errors import InputError
from stemsplit.reporting.documents import EXCERPTS, RESULT, read_json

Points = list[tuple[float, float]]
# Words in the names of settings that do not affect the training: folders, and the group of a run in
# Weights & Biases.
PLACES = {"run_dir", "resume", "folder", "dirpath", "default_root_dir", "cache", "group"}


@dataclass(frozen=True)
class RunRecord:
    """The content of a run's folder.

    metrics: points (step, value) by name, from ``metrics.csv``.
    results: the content of each ``result.json``, by "validation", "test" or folder name.
    excerpts: the entries of ``excerpts/index.json``.
    """

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

    def layers(self, kind: str, suffix: str = "") -> dict[str, Points]:
        """Root mean squares by layer, from the metrics with names ``norm/KIND/LAYER`` + `suffix`.

        Without a suffix, metrics whose names end with ``/in`` or ``/out`` are left out.
        """
        prefix = f"norm/{kind}/"
        return {
            name.removeprefix(prefix).removesuffix(suffix): points
            for name, points in self.metrics.items()
            if name.startswith(prefix)
            and (name.endswith(suffix) if suffix else not name.endswith(("/in", "/out")))
        }


def read_run(folder: Path, name: str | None = None) -> RunRecord:
    """Read a run; `name` defaults to the name of the folder.

    Raises `InputError` if the folder has no ``config.yaml``, or a file is damaged.
    """
    config_path = folder / "config.yaml"
    if not config_path.is_file():
        raise InputError(f"{folder}: is not the folder of a run; it has no config.yaml")
    try:
        text = config_path.read_text(encoding="utf-8")
        config = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{config_path}: is damaged ({str(error).splitlines()[0]})") from None
    if not isinstance(config, dict):
        raise InputError(f"{config_path}: is damaged: it contains no settings")
    if not isinstance(config.get("targets"), list | str | None):
        targets = config["targets"]
        raise InputError(f"{config_path}: is damaged: targets={targets} is not a list of stems")
    metrics, epochs = read_metrics(folder / "metrics.csv")
    results = {}
    for label, path in {
        "validation": folder / "result.json",
        "test": folder / "test/result.json",
        **{path.parent.name: path for path in sorted(folder.glob("evaluations/*/result.json"))},
    }.items():
        # A file without scores contains only the count of test scorings.
        if path.is_file() and "scores" in read_json(path, {}):
            results[label] = read_json(path, RESULT)
    name = name or folder.resolve().name
    index = folder / "excerpts/index.json"
    excerpts = read_json(index, EXCERPTS)["excerpts"] if index.is_file() else []
    return RunRecord(folder, name, config, text, metrics, epochs, results, excerpts)


def is_evaluation(folder: Path) -> bool:
    """Whether a folder has the results of an evaluation, and is not the folder of a run."""
    return (folder / "result.json").is_file() and not (folder / "config.yaml").exists()


def read_evaluation(folder: Path) -> dict[str, Any]:
    """Read the result of an evaluation; raise `InputError` if it is damaged."""
    return read_json(folder / "result.json", RESULT)


def read_metrics(path: Path) -> tuple[dict[str, Points], int]:
    """Points (step, value) of every metric, and the number of trained epochs.

    Without a file, there are no metrics and 0 epochs. Raises `InputError` if the file is damaged.
    """
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
    """The settings in which runs differ, with the value of each run."""
    configs = [flattened(record.config) for record in records]
    names = dict.fromkeys(name for config in configs for name in config)
    return {
        name: values
        for name in names
        if not PLACES & set(name.split("."))
        and len(set(values := [config.get(name, "–") for config in configs])) > 1
    }


def flattened(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings by their dotted names, as text."""
    settings: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            settings |= flattened(value, f"{prefix}{key}.")
        else:
            settings[f"{prefix}{key}"] = str(value)
    return settings
