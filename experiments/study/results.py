"""The result of a plan: `experiments/results/NAME.json`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.study import measures
from experiments.study.plan import Plan
from experiments.study.trainings import Training, score
from stemsplit.files import replacing
from stemsplit.reporting.results import standard
from stemsplit.reporting.run_records import RunRecord, read_run

RESULTS = Path(__file__).resolve().parent.parent / "results"
# Facts about an evaluation that a result keeps; others, such as folders, are left out.
FACTS = (
    "corpus", "subset", "fingerprint", "commit", "versions", "protocol", "scores", "frames",
    "differences", "spreads",
)  # fmt: skip
PLACES = ("data.root=", "data.cache=")  # settings that name folders
CURVES = ("train/loss", "validation/loss")
MOST_POINTS = 200  # of a curve


def result(plan: Plan, runs: list[Training], folder: Path) -> dict[str, Any]:
    """Score the trained runs and collect the results of a plan, except those of its sweep."""
    content: dict[str, Any] = {
        "experiment": plan.name,
        "question": plan.question,
        "settings": shareable(plan.train),
        "seeds": plan.seeds,
        "runs": {run.name: run_facts(run) for run in runs},
    }
    if plan.scored and runs:
        evaluation = score(runs, plan.evaluate, folder / "evaluation")
        content |= {name: evaluation[name] for name in FACTS if name in evaluation}
    for name in plan.measures:
        content[name] = measures.MEASURES[name](plan, runs, folder)
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
        "curves": {name: thinned(record.metrics.get(name, [])) for name in CURVES},
    }


def shareable(settings: Sequence[str]) -> list[str]:
    """The settings without those that name folders of one machine."""
    return [setting for setting in settings if not setting.startswith(PLACES)]


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


def write(content: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        text = json.dumps(standard(content), indent=1, allow_nan=False)
        partial.write_text(text + "\n", encoding="utf-8")


def table(plan: Plan, content: dict[str, Any]) -> str:
    """A result in Markdown: its scores or, without scores, how its runs ended."""
    return score_table(plan, content) if "scores" in content else run_table(content["runs"])


def run_table(runs: dict[str, Any]) -> str:
    lines = ["| run | steps | validation loss | ended with |", "|---|---|---|---|"]
    for name, run in runs.items():
        losses = [loss for _, loss in run["curves"]["validation/loss"]]
        loss = f"{losses[-1]:.4g}" if losses else "–"
        lines.append(f"| `{name}` | {run['steps']} | {loss} | {run['error'] or ''} |")
    return "\n".join(lines)


def score_table(plan: Plan, content: dict[str, Any]) -> str:
    """The scores of a result and the published scores of the plan, then paired differences."""
    metrics = ("SDR", "SIR", "ISR", "SAR")
    lines = ["| system | stem | " + " | ".join(metrics) + " |", "|---" * (len(metrics) + 2) + "|"]
    for system, stems in content["scores"].items():
        for stem, scores in stems.items():
            cells = [interval(scores[metric]) if metric in scores else "" for metric in metrics]
            lines.append(f"| `{system}` | {stem} | {' | '.join(cells)} |")
    for source, stems in plan.published.items():
        for stem, scores in stems.items():
            cells = [f"{scores[metric]:.2f}" if metric in scores else "" for metric in metrics]
            lines.append(f"| {source} | {stem} | {' | '.join(cells)} |")
    lines += ["", "| comparison | stem | difference of SDR, dB | p |", "|---|---|---|---|"]
    for pair, stems in content.get("differences", {}).items():
        for stem, scores in stems.items():
            score = scores["SDR"]
            p = "" if score["p"] is None else f"{score['p']:.2g}"
            lines.append(f"| {pair} | {stem} | {interval(score)} | {p} |")
    return "\n".join(lines)


def interval(score: dict[str, Any]) -> str:
    if score["median"] is None:
        return "–"
    return f"{score['median']:.2f} [{score['low']:.1f}, {score['high']:.1f}]"
