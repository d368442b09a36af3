"""Run commands in separate processes, and read the metrics that they write."""

import csv
import os
import subprocess
import sys
from pathlib import Path

from preloaded import COMMANDS, Command

TINY = [
    "model.separator.network.hidden=16",
    "window=1024",
    "hop=256",
    "chunk_seconds=1.0",
    "chunks_per_track=4",
    "data.batch_size=4",
    "data.validation_chunks=1",
    "logger=csv",
    "callbacks.excerpts=null",
    "callbacks.layers=null",  # its plot would take half of the time of such a training
]

Process = Command | subprocess.Popen[str]


def start(place: Path, module: str, *arguments: str) -> Process:
    environment = {"STEMSPLIT_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1"}
    if sys.platform == "linux" and module in COMMANDS:
        return Command(module, list(arguments), place, environment)
    return subprocess.Popen(
        [sys.executable, "-m", f"stemsplit.{module}", *arguments],
        cwd=place,
        env=os.environ | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(place: Path, module: str, *arguments: str) -> str:
    process = start(place, module, *arguments)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, output + errors
    return output


def rows(run_folder: Path) -> list[dict[str, str]]:
    """The rows of metrics.csv without measured times, which differ between runs."""
    with (run_folder / "metrics.csv").open(newline="") as file:
        return [
            {name: value for name, value in row.items() if not name.startswith("time/")}
            for row in csv.DictReader(file)
        ]


def epochs(run_folder: Path) -> list[str]:
    return [row["epoch"] for row in rows(run_folder) if row.get("train/loss")]
