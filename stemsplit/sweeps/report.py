"""Report a sweep: table of trials, heat map, HTML page."""

import csv
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from stemsplit.errors import InputError
from stemsplit.files import replacing
from stemsplit.reporting.charts import COLOURS
from stemsplit.reporting.documents import RANKING, read_json
from stemsplit.reporting.page import decibels, sweep_page, write
from stemsplit.reporting.run_records import read_run
from stemsplit.sweeps.plots import Cell, HeatMap, Scale, heat_maps
from stemsplit.sweeps.study import ERROR, PRUNED, SETTINGS, open_study
from stemsplit.terminal.counts import counted
from stemsplit.terminal.tables import print_table

LEAST_FINISHED = 8  # fewest finished trials for which the importance is estimated


def report(study: optuna.Study, folder: Path) -> None:
    """Print the trials, and write ``trials.csv``, ``heat_map.png`` and ``report.html``.

    Each heat map has two axes: the learning rate (or the first varied setting, if the learning rate
    is not varied), and one of the remaining varied settings.
    """
    trials = study.trials
    names = settings_in(trials)
    table = Table(
        Column("trial", justify="right"),
        *(escape(name) for name in names),
        Column("validation SDR", justify="right"),
        "",
        title=escape(str(folder)),
    )
    best = best_of(trials)
    rows: list[list[object]] = []
    for trial in trials:
        value = value_of(trial)
        settings = [settings_of(trial).get(name, "") for name in names]
        table.add_row(
            str(trial.number),
            *(escape(shown(setting)) for setting in settings),
            "" if value is None else f"{value:.2f}",
            escape(state_of(trial)),
            style="bold" if best is not None and trial.number == best.number else "",
        )
        rows.append([trial.number, *settings, value, state_of(trial)])
    console = Console()
    print_table(table, console)
    with replacing(folder / "trials.csv") as partial, partial.open("w", newline="") as file:
        csv.writer(file).writerows([["trial", *names, "validation_sdr", "state"], *rows])
    if best is None:
        print("best: none; no trial has finished")
    else:
        print(f"best: trial {best.number}, {best.value:.2f} dB; tuned={folder / 'best.yaml'}")
    varied = varied_in(trials)
    maps = [heat_map(trials, varied[0], name) for name in varied[1:]]
    if maps := [candidate for candidate in maps if candidate.cells]:
        heat_maps(maps, folder / "heat_map.png", f"{folder.name}, {counted(len(trials), 'trial')}")
    if shares := importance_in(study):
        console.print(
            "importance: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        )
    write(folder / "report.html", page_of(folder))
    print(f"report: {folder / 'report.html'}")


def page_of(folder: Path) -> str:
    """The HTML page of a sweep, finished or not."""
    study = open_study(folder)
    if not study.trials:
        raise InputError(f"{folder}: has no trials yet")
    best = best_of(study.trials)
    scored = [(value, trial) for trial in study.trials if (value := value_of(trial)) is not None]
    scored.sort(key=lambda pair: -pair[0])
    records = [
        read_run(folder / str(trial.number), f"trial {trial.number}")
        for _, trial in scored[:COLOURS]
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
                "settings": settings_of(trial),
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


def settings_in(trials: Sequence[FrozenTrial]) -> list[str]:
    """Names of the settings, in the order of the sweep's definition."""
    return list(dict.fromkeys(name for trial in trials for name in settings_of(trial)))


def settings_of(trial: FrozenTrial) -> dict[str, Any]:
    """The settings of a trial; for a trial in the queue, its planned settings."""
    return trial.params or trial.user_attrs.get(SETTINGS, {})


def shown(setting: Any) -> str:
    if setting is None:
        return "null"
    return f"{setting:.3g}" if isinstance(setting, float) else str(setting)


def varied_in(trials: Sequence[FrozenTrial]) -> list[str]:
    """The settings with more than one value, the learning rate first."""
    names = [
        name
        for name in settings_in(trials)
        if len({settings_of(trial).get(name) for trial in trials}) > 1
    ]
    return sorted(names, key=lambda name: name != "optimizer.lr")


def importance_in(study: optuna.Study) -> dict[str, float]:
    """The importance of each varied setting, from 0 to 1.

    Empty if fewer than `LEAST_FINISHED` trials have finished, or if all have the same result.
    """
    trials = study.trials
    varied = varied_in(trials)
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    values = {trial.value for trial in finished}
    if not varied or len(finished) < LEAST_FINISHED or len(values) == 1:
        return {}
    return optuna.importance.get_param_importances(
        study, params=varied, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
    )


def state_of(trial: FrozenTrial) -> str:
    """The state of a trial, and the reason if it was pruned or failed."""
    reason = trial.user_attrs.get(PRUNED) or trial.user_attrs.get(ERROR)
    return trial.state.name.lower() + (f": {reason}" if reason else "")


def best_of(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return max(finished, key=lambda trial: trial.values[0], default=None)


def value_of(trial: FrozenTrial) -> float | None:
    """The result of a finished trial, or the last reported value of a pruned or running trial.

    None if the trial has no finite value.
    """
    reported = trial.intermediate_values
    if trial.state in (TrialState.PRUNED, TrialState.RUNNING):
        value = reported[max(reported)] if reported else None
    else:
        value = trial.values[0] if trial.values else None
    return value if value is not None and math.isfinite(value) else None


def heat_map(trials: Sequence[FrozenTrial], across: str, down: str) -> HeatMap:
    """A heat map of two settings. Each cell shows the best trial with one pair of values.

    A finished trial counts as better than an unfinished one, even if its value is lower.
    """
    cells: dict[tuple[Any, Any], Cell] = {}
    scales = dict.fromkeys((across, down), Scale.LISTED)
    for trial in trials:
        value = value_of(trial)
        if value is None or not {across, down} <= set(trial.params):
            continue
        scales |= {name: scale_of(trial.distributions[name]) for name in scales}
        finished = trial.state == TrialState.COMPLETE
        cell = Cell(trial.params[across], trial.params[down], value, finished)
        before = cells.get(cell[:2])
        if before is None or (finished, value) > (before.finished, before.decibels):
            cells[cell[:2]] = cell
    return HeatMap(across, down, scales[across], scales[down], list(cells.values()))


def scale_of(distribution: BaseDistribution) -> Scale:
    if isinstance(distribution, CategoricalDistribution):
        return Scale.LISTED
    return Scale.LOGARITHMIC if getattr(distribution, "log", False) else Scale.LINEAR
