"""``python -m stemsplit.report ranking SWEEP``: does a small training set rank as the full one?"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from stemsplit.errors import InputError, one_line_errors
from stemsplit.evaluation.intervals import rank_correlation
from stemsplit.files import replacing

# What makes a trial of a training, and the training set small; all else is kept.
OF_A_TRIAL = ("+sweep", "sweep.", "callbacks.trial", "data.downsample", "hydra", "tuned")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m stemsplit.report", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    ranking_ = commands.add_parser(
        "ranking",
        help="train some of a sweep's settings on the full training set, in SWEEP/full/TRIAL, and "
        "correlate the ranks; what is there already is taken up",
    )
    ranking_.add_argument("sweep", type=Path, metavar="SWEEP", help="the folder of a sweep")
    ranking_.add_argument(
        "--trials",
        type=int,
        default=5,
        help="how many of its settings, evenly from the best to the worst (default: %(default)s)",
    )
    ranking_.add_argument(
        "overrides",
        nargs="*",
        metavar="SETTING",
        help="after SWEEP: other settings for the full trainings, as epochs=100",
    )
    given = parser.parse_args(arguments)
    with one_line_errors():
        ranking(given.sweep, given.trials, given.overrides)


def ranking(sweep: Path, count: int, overrides: Sequence[str]) -> None:
    """Train, print both scores and Kendall's rank correlation, and write SWEEP/ranking.json."""
    from stemsplit.sweeps import ASKED_FOR, trials_in
    from stemsplit.training.trials import study_in

    if not (sweep / "study.journal").is_file():
        raise InputError(f"{sweep}: not the folder of a sweep, it holds no study.journal")
    study = study_in(sweep)
    trials = sorted(trials_in(study, "COMPLETE"), key=lambda trial: -trial.values[0])
    if not 3 <= count <= len(trials):
        raise InputError(
            f"--trials {count}: a ranking takes at least 3, and {sweep} has {len(trials)} finished"
        )
    chosen = [trials[place] for place in np.linspace(0, len(trials) - 1, count).round().astype(int)]
    shared = study.user_attrs[ASKED_FOR]["with"]
    words = [word for word in shared if not word.startswith(OF_A_TRIAL)]
    table = Table("trial", *chosen[0].params, "downsampled", "full", title=f"{sweep}: SDR, dB")
    rows = []
    for trial in chosen:
        run = sweep / "full" / str(trial.number)
        settings = [f"{name}={value}" for name, value in trial.params.items()]
        full = score_of(trained(run, [*words, *settings, *overrides]))
        rows.append({"trial": trial.number, **trial.params, "full": full})
        rows[-1]["downsampled"] = score_of(sweep / str(trial.number))
        shown = [
            f"{value:.3g}" if isinstance(value, float) else value for value in trial.params.values()
        ]
        table.add_row(
            str(trial.number), *map(str, shown), f"{rows[-1]['downsampled']:.2f}", f"{full:.2f}"
        )
    found = rank_correlation([row["downsampled"] for row in rows], [row["full"] for row in rows])
    with replacing(sweep / "ranking.json") as partial:
        partial.write_text(json.dumps({"kendall": found._asdict(), "trials": rows}, indent=2))
    Console().print(table)
    if found.tau is None:
        print("no ranking: one of them has only ties")
        return
    interval = f"[{found.low:.2f}, {found.high:.2f}]"
    print(f"Kendall's tau [95 % interval]: {found.tau:.2f} {interval}, p {found.p:.2g}")


def trained(run: Path, words: Sequence[str]) -> Path:
    """The folder of a training, gone on with where it was broken off, done where it is not."""
    if (run / "result.json").is_file():
        return run
    begun = (run / "last.ckpt").is_file()
    command = [f"resume={run}"] if begun else [*words, f"hydra.run.dir={run}"]
    ended = subprocess.run([sys.executable, "-m", "stemsplit.train", *command])
    if ended.returncode:
        raise InputError(f"{run}: the training failed, see above; the same command goes on")
    return run


def score_of(run: Path) -> float:
    """The SDR of the first target on the validation songs."""
    result: dict[str, Any] = json.loads((run / "result.json").read_text())
    median = result["scores"][result["model"]][result["targets"][0]]["SDR"]["median"]
    if median is None:
        raise InputError(f"{run}: its validation songs gave no SDR of {result['targets'][0]}")
    return float(median)


if __name__ == "__main__":
    main()
