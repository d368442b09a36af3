"""What a sweep found: a table of its trials, a heat map, a page."""

import csv
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from stemsplit.errors import InputError
from stemsplit.files import replacing
from stemsplit.reporting.charts import COLOURS
from stemsplit.reporting.documents import RANKING, read_json
from stemsplit.reporting.page import decibels, sweep_page, write
from stemsplit.reporting.plots import Cell, heat_maps
from stemsplit.reporting.run_records import read_run
from stemsplit.training.trials import ERROR, PRUNED, study_in

ENOUGH = 4  # finished trials without which nothing can be said of a setting's importance


def report(study: optuna.Study, folder: Path) -> None:
    """Print the trials, and write ``trials.csv``, ``heat_map.png`` and ``report.html``.

    Heat maps show the first setting that was tried with several values (the learning rate) against
    each of the others: of the trials that share both values, the best.
    """
    trials = study.trials
    names = sorted({name for trial in trials for name in trial.params})
    table = Table("trial", *names, "validation SDR", "", title=str(folder))
    best = best_of(trials)
    rows: list[list[object]] = []
    for trial in trials:
        value = value_of(trial)
        settings = [trial.params.get(name, "") for name in names]
        table.add_row(
            str(trial.number),
            *(f"{given:.3g}" if isinstance(given, float) else str(given) for given in settings),
            "" if value is None else f"{value:.2f}",
            state_of(trial),
            style="bold" if best is not None and trial.number == best.number else "",
        )
        rows.append([trial.number, *settings, value, state_of(trial)])
    console = Console()
    console.print(table)
    with replacing(folder / "trials.csv") as partial, partial.open("w", newline="") as file:
        csv.writer(file).writerows([["trial", *names, "validation_sdr", "state"], *rows])
    if best is None:
        print("best: none, no trial has finished")
    else:
        print(f"best: trial {best.number}, {best.value:.2f} dB; tuned={folder / 'best.yaml'}")
    tried = tried_in(trials)
    maps = {(tried[0], name): cells_of(trials, tried[0], name) for name in tried[1:]}
    if any(maps.values()):
        heat_maps(maps, folder / "heat_map.png", f"{folder.name}, {len(trials)} trials")
    if shares := importance_in(study):
        console.print(
            "importance: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        )
    write(folder / "report.html", page_of(folder))
    print(f"report: {folder / 'report.html'}")


def page_of(folder: Path) -> str:
    """The page of a sweep's folder, whether it has ended or not."""
    journal = folder / "study.journal"
    try:
        study = study_in(folder)
    except (KeyError, ValueError) as error:
        raise InputError(f"{journal}: is damaged ({error})") from None
    if not study.trials:
        raise InputError(f"{journal}: holds no trial yet")
    best = best_of(study.trials)
    scored = [trial for trial in study.trials if math.isfinite(value_of(trial) or math.nan)]
    scored.sort(key=lambda trial: value_of(trial) or 0.0, reverse=True)
    records = [
        read_run(folder / str(trial.number), f"trial {trial.number}")
        for trial in scored[:COLOURS]
        if (folder / str(trial.number) / "config.yaml").is_file()
    ]
    ranking = folder / "ranking.json"
    states = Counter(trial.state.name.lower() for trial in study.trials)
    known = {"trials": str(len(study.trials))}
    known |= {state: str(count) for state, count in states.items()}
    if best is not None:
        known["best"] = f"{decibels(best.value)} dB (trial {best.number})"
    if records:
        known |= {"model": records[0].model, "corpus": str(records[0].config.get("corpus", "–"))}
    return sweep_page(
        folder.resolve().name,
        known,
        records,
        [
            {
                "number": trial.number,
                "settings": trial.params,
                "value": value_of(trial),
                "state": state_of(trial),
                "best": best is not None and trial.number == best.number,
            }
            for trial in study.trials
        ],
        folder / "heat_map.png",
        (folder / "best.yaml").read_text() if (folder / "best.yaml").is_file() else None,
        importance_in(study),
        read_json(ranking, RANKING) if ranking.is_file() else None,
    )


def tried_in(trials: Sequence[FrozenTrial]) -> list[str]:
    """The settings of which there were several values."""
    names = sorted({name for trial in trials for name in trial.params})
    return [name for name in names if len({trial.params.get(name) for trial in trials}) > 1]


def importance_in(study: optuna.Study) -> dict[str, float]:
    """What share of the difference between trials each setting makes; none of too few trials."""
    trials = study.trials
    tried = tried_in(trials)
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not tried or len(finished) < ENOUGH or len({trial.value for trial in finished}) == 1:
        return {}
    return optuna.importance.get_param_importances(
        study, params=tried, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
    )


def state_of(trial: FrozenTrial) -> str:
    """How a trial ended, and why where it did so before its time."""
    why = trial.user_attrs.get(PRUNED) or trial.user_attrs.get(ERROR)
    return trial.state.name.lower() + (f": {why}" if why else "")


def best_of(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return max(finished, key=lambda trial: trial.values[0], default=None)


def value_of(trial: FrozenTrial) -> float | None:
    """A trial's figure; of one that was pruned, the last that was seen."""
    if trial.state == TrialState.PRUNED and trial.intermediate_values:
        return trial.intermediate_values[max(trial.intermediate_values)]
    return trial.values[0] if trial.values else None


def cells_of(trials: Sequence[FrozenTrial], across: str, down: str) -> list[Cell]:
    """Of the trials that share both values, the best."""
    cells: dict[tuple[float | str, float | str], Cell] = {}
    for trial in trials:
        value = value_of(trial)
        if value is None or not {across, down} <= set(trial.params):
            continue
        finished = trial.state == TrialState.COMPLETE
        cell = Cell(trial.params[across], trial.params[down], value, finished)
        before = cells.get(cell[:2])
        if before is None or (finished, value) > (before.finished, before.decibels):
            cells[cell[:2]] = cell
    return list(cells.values())
