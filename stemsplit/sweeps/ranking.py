"""Compare the ranking of settings on a small training set with their ranking on the full set."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from optuna.trial import FrozenTrial, TrialState
from rich.markup import escape
from rich.table import Table

from stemsplit import configuration
from stemsplit.errors import InputError
from stemsplit.evaluation.intervals import rank_correlation
from stemsplit.files import replacing
from stemsplit.reporting.page import write
from stemsplit.reporting.run_records import read_metrics
from stemsplit.separation.checkpoint import read
from stemsplit.settings.paths import quote
from stemsplit.sweeps.record import recorded_words
from stemsplit.sweeps.report import page_of, shown
from stemsplit.sweeps.search_space import words_of
from stemsplit.sweeps.study import open_study, trials_in
from stemsplit.terminal.tables import print_table

LEAST_TRIALS = 3
# Settings that turn a trial into an ordinary run on the full training set.
FULL = (
    "callbacks.trial=null",
    "tuned=null",
    "data.downsample.chunks=1",
    "data.downsample.songs=1",
    "data.downsample.rate=1",
)


def ranking(sweep: Path, count: int, overrides: Sequence[str]) -> None:
    """Train trials on the full training set; write Kendall's rank correlation to ranking.json.

    Each trial has two values, one for the small training set and one for the full training set. The
    correlation compares the rankings by these values. A value is the metric that the sweep
    maximised (``callbacks.trial.monitor``), at the best checkpoint. All values are printed.
    """
    study = open_study(sweep)
    chosen = spread_over(trials_in(study, TrialState.COMPLETE), count, sweep)
    monitor = configuration.saved(sweep / str(chosen[0].number)).callbacks.trial.monitor
    shared = recorded_words(study)
    check_overrides(sweep / "full", overrides)
    table = Table("trial", *(escape(name) for name in chosen[0].params))
    for figure in ("downsampled", "full"):
        table.add_column(figure, justify="right")
    table.title = escape(f"{sweep}: {monitor} in dB")
    rows = []
    for trial in chosen:
        run = sweep / "full" / str(trial.number)
        words = [*shared, *words_of(trial.params), *FULL, *overrides]
        full = monitored_in(trained(run, words), monitor)
        rows.append(
            {"trial": trial.number, **trial.params, "downsampled": trial.value, "full": full}
        )
        settings = (escape(shown(value)) for value in trial.params.values())
        table.add_row(str(trial.number), *settings, f"{trial.value:.2f}", f"{full:.2f}")
    kendall = rank_correlation([row["downsampled"] for row in rows], [row["full"] for row in rows])
    with replacing(sweep / "ranking.json") as partial:
        content = {"monitor": monitor, "kendall": kendall._asdict(), "trials": rows}
        partial.write_text(json.dumps(content, indent=2))
    print_table(table)
    if kendall.tau is None:
        print("Kendall's tau is undefined: all trials are equal on one of the two training sets")
    else:
        interval = f"[{kendall.low:.2f}, {kendall.high:.2f}]"
        correlation = f"{kendall.tau:.2f} {interval}, p {kendall.p:.2g}"
        print(f"Kendall's tau [95 % confidence interval]: {correlation}")
    write(sweep / "report.html", page_of(sweep))
    print(f"report: {sweep / 'report.html'}")


def spread_over(trials: Sequence[FrozenTrial], count: int, sweep: Path) -> list[FrozenTrial]:
    """Choose `count` trials, evenly spaced from the best to the worst."""
    if not LEAST_TRIALS <= count <= len(trials):
        raise InputError(
            f"--trials {count}: {sweep} has {len(trials)} finished trials, and a ranking needs at "
            f"least {LEAST_TRIALS}"
        )
    ranked = sorted(trials, key=lambda trial: -trial.values[0])
    places = np.linspace(0, len(ranked) - 1, count).round().astype(int)
    return [ranked[place] for place in places]


def check_overrides(folder: Path, overrides: Sequence[str]) -> None:
    """Store the overrides in the folder; raise `InputError` if it has runs with other overrides."""
    settings = folder / "settings.json"
    if not settings.is_file():
        with replacing(settings) as partial:
            partial.write_text(json.dumps(list(overrides)))
    elif (before := json.loads(settings.read_text())) != list(overrides):
        raise InputError(
            f"{folder}: holds runs with [{' '.join(before)}], not with "
            f"[{' '.join(overrides)}]; give the same settings, or move the folder"
        )


def trained(run: Path, words: Sequence[str]) -> Path:
    """Train or resume a run, unless it is finished; return its folder."""
    if (run / "result.json").is_file():
        return run
    place = quote(str(run))
    begun = (run / "last.ckpt").is_file()
    command = [f"resume={place}"] if begun else [*words, f"hydra.run.dir={place}"]
    process = subprocess.run([sys.executable, "-m", "stemsplit.train", *command])
    if process.returncode:
        raise InputError(f"{run}: the training failed (see above); the same command resumes it")
    return run


def monitored_in(run: Path, monitor: str) -> float:
    """The monitored metric at the best checkpoint of a run, read from metrics.csv."""
    steps = read(run / "best.ckpt")["global_step"]
    points = read_metrics(run / "metrics.csv")[0].get(monitor, [])
    # metrics.csv numbers the steps from 0; `steps` is the number of finished steps.
    figures = [figure for step, figure in points if step < steps]
    if not figures:
        raise InputError(
            f"{run / 'metrics.csv'}: no {monitor} for best.ckpt; a ranking needs the CSV logger"
        )
    return figures[-1]
