"""``result.json`` of a run, and the table that a person reads."""

import json
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stemsplit.evaluation.intervals import Interval
from stemsplit.evaluation.scores import METRICS
from stemsplit.evaluation.scores import Table as Scores
from stemsplit.files import replacing

PACKAGES = ("stemsplit", "torch", "torchaudio", "lightning", "hydra-core", "musdb", "museval")


def write_result(path: Path, scores: Scores, **facts: Any) -> None:
    """`facts` (model, corpus, seed, …), what the code was, and the scores with their intervals."""
    result = {
        **facts,
        "commit": commit(),
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in PACKAGES},
        "scores": {
            row: {
                stem: {metric: interval._asdict() for metric, interval in metrics.items()}
                for stem, metrics in stems.items()
            }
            for row, stems in scores.items()
        },
    }
    with replacing(path) as partial:
        partial.write_text(json.dumps(result, indent=2) + "\n")


def commit() -> str | None:
    """The commit of the checkout that runs, with a plus where it was changed; None in a wheel."""
    folder = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != folder.parents[1]:
            return None
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def print_scores(scores: Scores, title: str) -> None:
    """A section a system, a row a stem; medians in dB over their 95 % intervals."""
    table = Table(
        title=Text(title), caption="dB: median of 1 s frames, then of songs [95 % interval]"
    )
    table.add_column()
    for metric in METRICS:
        table.add_column(metric, justify="right")
    for system, stems in scores.items():
        table.add_row(Text(system, style="bold"))
        for stem, metrics in stems.items():
            table.add_row(Text(f"  {stem}"), *(cell(metrics[metric]) for metric in METRICS))
        table.add_section()
    Console().print(table)


def cell(interval: Interval) -> str:
    if interval.median is None:
        return "–"
    if interval.low is None:
        return f"{interval.median:.2f}"
    return f"{interval.median:.2f}\n[dim]\\[{interval.low:.1f}, {interval.high:.1f}][/dim]"
