"""``python -m experiments.study [NAME]``: run an experiment of the study, or list all.

An experiment trains its networks, scores them on the test songs, and writes
`experiments/results/NAME.json` and `NAME.png`. Interrupted experiments continue where they stopped.
"""

import argparse
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from experiments.study import picture, results, sweeps, tables
from experiments.study.plan import Plan, plan, plans
from experiments.study.trainings import Training, report, train, trainings
from stemsplit.errors import InputError, one_line_errors


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.study",
        description="Run an experiment of the study, or list all experiments.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="name of the experiment")
    parser.add_argument(
        "settings", nargs="*", metavar="SETTING", help="more settings, such as data.root=/path"
    )
    parser.add_argument(
        "--small",
        action="store_true",
        help="only test the experiment: one short epoch on the demo songs, one seed",
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/study"), help="folder of the runs")
    parser.add_argument(
        "--results", type=Path, help="folder of the result; default: experiments/results"
    )
    parser.add_argument(
        "--only",
        action="append",
        metavar="RUN",
        help="train and score only this run, and add it to an existing result, so that an "
        "experiment can be divided among computers; can be repeated",
    )
    options = parser.parse_intermixed_args()
    with one_line_errors():
        if options.name is None:
            show(plans(), options.runs)
            return
        chosen = plan(options.name)
        folder = folder_of(chosen, options.runs)
        target = results.RESULTS
        if options.small:
            chosen, folder = chosen.as_test(), folder.with_name(f"{folder.name}-small")
            target = folder
        chosen = chosen.with_settings(options.settings)
        carry_out(chosen, folder, options.results or target, options.only)


def folder_of(chosen: Plan, runs: Path) -> Path:
    return runs.absolute() / chosen.name


def carry_out(chosen: Plan, folder: Path, target: Path, only: list[str] | None) -> None:
    """Train the networks of a plan, score them, and write the result and its picture.

    With `only`, these runs are trained and scored, and added to an existing result.
    """
    runs = trainings(chosen, folder)
    path = target / f"{chosen.name}.json"
    if only is not None:
        names = [run.name for run in runs]
        if unknown := sorted({*only} - {*names}):
            raise InputError(f"{unknown[0]}: unknown run; choose from {', '.join(names)}")
        runs = [run for run in runs if run.name in only]
        results.read(path, chosen)  # raises its errors before the trainings
    for number, run in enumerate(runs, 1):
        print(f"{chosen.name}: training {number} of {len(runs)}, {run.name}", file=sys.stderr)
        train(run, chosen.may_fail)
    content = results.result(chosen, runs, folder)
    # Other computers may have added runs meanwhile, so the file is read only now.
    if only is not None and (earlier := results.read(path, chosen)) is not None:
        content = results.added(earlier, content, chosen)
    if runs:
        scored = sorted(path.parent for path in folder.glob("evaluation*/result.json"))
        report(runs, scored, folder / "report.html")
    if chosen.sweep is not None:
        content["sweep"] = sweeps.carry_out(chosen, chosen.sweep, folder / "sweep")
    results.write(content, path)
    picture.draw(chosen, content, path.with_suffix(".png"))
    if runs:  # a sweep has printed its own table
        print(tables.table(chosen, content))
    print(path)


def show(all_plans: list[Plan], runs: Path) -> None:
    """Print a table of the experiments with their state and cost."""
    table = Table("experiment", "state", "cost", "question")
    for each in all_plans:
        state = state_of(each, trainings(each, folder_of(each, runs)))
        table.add_row(each.name, state, each.cost, each.question)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def state_of(chosen: Plan, runs: list[Training]) -> str:
    path = results.RESULTS / f"{chosen.name}.json"
    if path.is_file():
        recorded = len(json.loads(path.read_text(encoding="utf-8"))["runs"])
        if recorded < len(runs):
            return f"result for {recorded} of {len(runs)} runs"
        return "has a result"
    done = sum(run.state == "done" for run in runs)
    return f"{done} of {len(runs)} runs done" if runs else "open"


if __name__ == "__main__":
    main()
