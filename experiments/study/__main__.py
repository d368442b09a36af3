"""``python -m experiments.study [NAME]``: run an experiment of the study, or list all.

An experiment trains its networks, scores them on the test songs, and writes
`experiments/results/NAME.json` and `NAME.png`. Interrupted experiments continue where they stopped.
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from experiments.study import picture, results, sweeps
from experiments.study.plan import Plan, plan, plans
from experiments.study.trainings import report, train, trainings
from stemsplit.errors import one_line_errors


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
        carry_out(chosen.with_settings(options.settings), folder, options.results or target)


def folder_of(chosen: Plan, runs: Path) -> Path:
    return runs.absolute() / chosen.name


def carry_out(chosen: Plan, folder: Path, target: Path) -> None:
    """Train the networks of a plan, score them, and write the result and its picture."""
    runs = trainings(chosen, folder)
    for number, run in enumerate(runs, 1):
        print(f"{chosen.name}: training {number} of {len(runs)}, {run.name}", file=sys.stderr)
        train(run, chosen.may_fail)
    content = results.result(chosen, runs, folder)
    if runs:
        scored = sorted(path.parent for path in folder.glob("evaluation*/result.json"))
        report(runs, scored, folder / "report.html")
    if chosen.sweep is not None:
        content["sweep"] = sweeps.carry_out(chosen, chosen.sweep, folder / "sweep")
    results.write(content, target / f"{chosen.name}.json")
    picture.draw(chosen, content, target / f"{chosen.name}.png")
    if runs:  # a sweep has printed its own table
        print(results.table(chosen, content))
    print(f"{target / chosen.name}.json")


def show(all_plans: list[Plan], runs: Path) -> None:
    """Print a table of the experiments with their state and cost."""
    table = Table("experiment", "state", "cost", "question")
    for each in all_plans:
        states = [run.state for run in trainings(each, folder_of(each, runs))]
        done = f"{states.count('done')} of {len(states)} runs done" if states else "open"
        if (results.RESULTS / f"{each.name}.json").is_file():
            done = "has a result"
        table.add_row(each.name, done, each.cost, each.question)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    main()
