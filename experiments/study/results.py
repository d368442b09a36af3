"""The result of a plan: `experiments/results/NAME.json`."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.study import measures
from experiments.study.plan import Plan
from experiments.study.scores import combined, in_order, over_seeds, scored
from experiments.study.trainings import CHANGEABLE, Training, config_of
from stemsplit.errors import InputError
from stemsplit.files import replacing
from stemsplit.reporting.results import standard
from stemsplit.reporting.run_records import RunRecord, read_run

Content = dict[str, Any]  # of a result file
RESULTS = Path(__file__).resolve().parent.parent / "results"
COMBINABLE = ("noise",)  # measures whose results for several runs can be combined
CURVES = ("train/loss", "validation/loss")
MOST_POINTS = 200  # of a curve
NUMBERS = re.compile(r"\[([-+.,\deEnul\s]*)\]")  # in JSON


def result(plan: Plan, runs: list[Training], folder: Path) -> Content:
    """Score the trained runs and collect the results of a plan, except those of its sweep."""
    content: Content = {
        "experiment": plan.name,
        "question": plan.question,
        "settings": shareable([*plan.train, *plan.added]),
        "seeds": plan.seeds,
        "runs": {run.name: run_facts(run) for run in runs},
    }
    if plan.scored and runs:
        content |= scored(runs, plan.evaluate, folder / "evaluation")
    for name in plan.measures:
        content[name] = measures.MEASURES[name](plan, runs, folder)
    return content | over_all_seeds(plan, content)


def added(earlier: Content, content: Content, plan: Plan) -> Content:
    """Add the runs of a result to an earlier result, which `read` returned.

    Raises `InputError` if the runs were scored on other songs or with another protocol.
    """
    order = list(plan.trainings())
    both = combined(earlier, content, order) if plan.scored else dict(content)
    both["runs"] = in_order(earlier["runs"] | content["runs"], order)
    for name in plan.measures:
        both[name] = {
            part: combined(earlier[name][part], scores, order)
            for part, scores in content[name].items()
        }
    return both | over_all_seeds(plan, both)


def over_all_seeds(plan: Plan, content: Content) -> Content:
    """The differences over several seeds, once every run has its scores."""
    if min(len(plan.seeds), len(plan.runs)) < 2 or not plan.scored:
        return {}
    if len(content["runs"]) < len(plan.trainings()):
        return {}
    return {"over_seeds": over_seeds(plan, content["song_medians"])}


def read(path: Path, plan: Plan) -> Content | None:
    """Read an existing result, to add runs to it. Returns None if the file does not exist.

    Raises `InputError` if runs cannot be added: the settings of its runs differ from the plan, or
    the plan compares its runs in a way that needs all of them at once.
    """
    if plan.sweep is not None or not {*plan.measures} <= {*COMBINABLE}:
        raise InputError(f"{plan.name}: its runs can only be carried out together, without --only")
    if not path.is_file():
        return None
    content: Content = json.loads(path.read_text(encoding="utf-8"))
    wanted = {name: shareable(settings) for name, settings in plan.trainings().items()}
    for name, run in content["runs"].items():
        if run["settings"] != wanted.get(name):
            raise InputError(
                f"{path}: the run {name} has other settings than the experiment; remove this file, "
                "or choose another folder with --results"
            )
    if plan.scored and "song_medians" not in content:
        raise InputError(f"{path}: has no scores of songs, so that no run can be added; remove it")
    return content


def run_facts(run: Training) -> dict[str, Any]:
    record = read_run(run.folder)
    steps = [step for step, _ in record.metrics.get("train/loss", [])]
    trained = record.results.get("validation", {})
    return {
        "settings": shareable(run.settings),
        "commit": trained.get("commit"),
        "versions": trained.get("versions"),
        "corpus": trained.get("trained_on"),
        "error": run.error,
        "epochs": record.epochs,
        "steps": round(steps[-1]) + 1 if steps else 0,
        "seconds_per_step": last(record, "time/step_seconds"),
        "parameters": parameters(run.folder),
        "precision": config_of(run).trainer.precision,
        "curves": {name: thinned(record.metrics.get(name, [])) for name in CURVES},
    }


def shareable(settings: Sequence[str]) -> list[str]:
    """The settings without those that concern one machine and do not change a training."""
    return [setting for setting in settings if not setting.startswith(CHANGEABLE)]


def last(record: RunRecord, metric: str) -> float | None:
    points = record.metrics.get(metric)
    return points[-1][1] if points else None


def parameters(run: Path) -> int | None:
    import stemsplit

    if not (run / "last.ckpt").is_file():
        return None
    return sum(weight.numel() for weight in stemsplit.load(run / "last.ckpt").parameters())


def thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `MOST_POINTS` points, evenly spaced, including the last."""
    if len(points) <= MOST_POINTS:
        return points
    stride = -(-len(points) // MOST_POINTS)
    return points[::-stride][::-1]


def write(content: Content, path: Path) -> None:
    text = json.dumps(standard(content), indent=1, allow_nan=False)
    text = NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text)  # one line per list
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")
