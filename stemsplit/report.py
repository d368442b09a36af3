"""``python -m stemsplit.report RUN…``: what trainings did, as one HTML file without a network.

``python -m stemsplit.report ranking SWEEP``: does a small training set rank as the full one?
"""

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
from stemsplit.reporting.page import comparison_page, run_page, write
from stemsplit.reporting.run_records import read_run

# What makes a trial of a training, and the training set small; all else is kept.
OF_A_TRIAL = ("+sweep", "sweep.", "callbacks.trial", "data.downsample", "hydra", "tuned")


def main(arguments: Sequence[str] | None = None) -> None:
    given = list(sys.argv[1:] if arguments is None else arguments)
    with one_line_errors():
        if given[:1] == ["ranking"]:
            known = ranking_parser().parse_args(given[1:])
            ranking(known.sweep, known.trials, known.overrides)
        else:
            known = page_parser().parse_args(given)
            print(page(known.runs, known.output))


def page_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m stemsplit.report",
        description="Write one self-contained HTML file, and print its path. (Another command: "
        "`python -m stemsplit.report ranking --help`.)",
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="a run's folder: RUN/report.html; several: a comparison of them, report.html here; "
        "a sweep's folder: SWEEP/report.html",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="another place for it")
    return parser


def ranking_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m stemsplit.report ranking",
        description="Train some of a sweep's settings on the full training set, in "
        "SWEEP/full/TRIAL, and correlate the ranks; what is there already is taken up.",
    )
    parser.add_argument("sweep", type=Path, metavar="SWEEP", help="the folder of a sweep")
    parser.add_argument(
        "--trials",
        type=int,
        default=5,
        help="how many of its settings, evenly from the best to the worst (default: %(default)s)",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="SETTING",
        help="after SWEEP: other settings for the full trainings, as epochs=100",
    )
    return parser


def page(folders: Sequence[Path], output: Path | None = None) -> Path:
    """Write the page of a run, of several, or of a sweep; returns where it lies."""
    sweeps = [folder for folder in folders if (folder / "study.journal").is_file()]
    if sweeps and len(folders) > 1:
        raise InputError(f"{sweeps[0]}: a sweep has a page of its own: report it alone")
    if sweeps:
        # Optuna is an extra, and other pages can do without.
        try:
            from stemsplit.reporting.sweep import page_of
        except ModuleNotFoundError as error:
            raise InputError(
                f"{sweeps[0]}: a sweep's page needs {error.name}, of the extra `sweeps`: "
                "pip install 'stemsplit[sweeps]'"
            ) from None

        path, text = folders[0] / "report.html", page_of(folders[0])
    elif len(folders) == 1:
        path, text = folders[0] / "report.html", run_page(read_run(folders[0]))
    else:
        records = [
            read_run(folder, name) for folder, name in zip(folders, names(folders), strict=True)
        ]
        path, text = Path("report.html"), comparison_page(records)
    path = output or path
    write(path, text)
    return path


def names(folders: Sequence[Path]) -> list[str]:
    """As much of the folders' paths as tells them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        found = ["/".join(part[-length:]) for part in parts]
        if len(set(found)) == len(found):
            return found
    raise InputError(f"{folders[0]}: is given twice")


def ranking(sweep: Path, count: int, overrides: Sequence[str]) -> None:
    """Train, print both scores and Kendall's rank correlation, and write SWEEP/ranking.json."""
    from stemsplit.sweeps import ASKED_FOR, trials_in, words_of
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
    for_all(sweep / "full", overrides)
    table = Table("trial", *chosen[0].params, "downsampled", "full", title=f"{sweep}: SDR, dB")
    rows = []
    for trial in chosen:
        run = sweep / "full" / str(trial.number)
        full = score_of(trained(run, [*words, *words_of(trial.params), *overrides]))
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


def for_all(folder: Path, overrides: Sequence[str]) -> None:
    """Refuse full trainings of other settings than those that lie in the folder."""
    settings = folder / "settings.json"
    if not settings.is_file():
        with replacing(settings) as partial:
            partial.write_text(json.dumps(list(overrides)))
    elif (before := json.loads(settings.read_text())) != list(overrides):
        raise InputError(
            f"{folder}: holds trainings with [{' '.join(before)}], not with "
            f"[{' '.join(overrides)}]: say the same, or move the folder away"
        )


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
