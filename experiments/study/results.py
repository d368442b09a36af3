"""The result of a plan: `experiments/results/NAME.json`."""

import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from experiments.study import measures
from experiments.study.plan import Plan
from experiments.study.trainings import Training, config_of, score
from stemsplit.evaluation.intervals import paired_difference
from stemsplit.evaluation.scores import METRICS, median_of_frames
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
        "settings": shareable([*plan.train, *plan.added]),
        "seeds": plan.seeds,
        "runs": {run.name: run_facts(run) for run in runs},
    }
    if plan.scored and runs:
        evaluation = score(runs, plan.evaluate, folder / "evaluation")
        content |= {name: evaluation[name] for name in FACTS if name in evaluation}
        if len(plan.seeds) > 1 and len(plan.runs) > 1:
            content["over_seeds"] = over_seeds(plan, folder / "evaluation")
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
        "precision": config_of(run).trainer.precision,
        "curves": {name: thinned(record.metrics.get(name, [])) for name in CURVES},
    }


def over_seeds(plan: Plan, evaluation: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Paired differences between the runs of a plan, by pair, stem and metric.

    The score of a song is the mean over the seeds of its medians over frames. Songs without a score
    for one of the seeds are left out. The intervals and p-values tell how much the songs differ,
    not the seeds. `seeds` lists the medians over songs of the differences with each seed.
    """
    songs = {
        name: [song_medians(evaluation, f"{name}-{seed}") for seed in plan.seeds]
        for name in plan.runs
    }
    return {
        f"{second} - {first}": difference_of_means(songs[second], songs[first])
        for first, second in combinations(plan.runs, 2)
    }


SongMedians = dict[tuple[str, str], dict[str, float]]  # by (stem, metric) and song


def song_medians(evaluation: Path, system: str) -> SongMedians:
    medians: SongMedians = {}
    for path in sorted(evaluation.glob(f"museval/*/{system}/*/*.json")):
        for target in json.loads(path.read_text())["targets"]:
            for metric in METRICS:
                values = [frame["metrics"][metric] for frame in target["frames"]]
                songs = medians.setdefault((target["name"], metric), {})
                songs[path.stem] = median_of_frames(values)
    return medians


def difference_of_means(
    first: Sequence[SongMedians], second: Sequence[SongMedians]
) -> dict[str, dict[str, Any]]:
    """Summarise the differences between the means over seeds, one difference per song."""
    stems: dict[str, dict[str, Any]] = {}
    for stem, metric in first[0]:
        by_song = np.array(
            [
                [one[stem, metric][song] - two[stem, metric][song] for song in one[stem, metric]]
                for one, two in zip(first, second, strict=True)
            ]
        )
        by_song = by_song[:, np.isfinite(by_song).all(axis=0)]
        facts = paired_difference(by_song.mean(axis=0).tolist(), frames=0).facts()
        del facts["frames"]
        facts["seeds"] = np.median(by_song, axis=1).tolist()
        stems.setdefault(stem, {})[metric] = facts
    return stems


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
    """The scores of a result and the published scores of the plan, then paired differences.

    With several seeds, the differences are those between the means over the seeds.
    """
    scored = scores_of(content)
    metrics = ("SDR", "SIR", "ISR", "SAR")
    lines = ["| system | stem | " + " | ".join(metrics) + " |", "|---" * (len(metrics) + 2) + "|"]
    for system, stems in scored["scores"].items():
        for stem, scores in stems.items():
            cells = [interval(scores[metric]) if metric in scores else "" for metric in metrics]
            lines.append(f"| `{system}` | {stem} | {' | '.join(cells)} |")
    for source, stems in plan.published.items():
        for stem, scores in stems.items():
            cells = [f"{scores[metric]:.2f}" if metric in scores else "" for metric in metrics]
            lines.append(f"| {source} | {stem} | {' | '.join(cells)} |")
    differences = content.get("over_seeds", scored.get("differences", {}))
    columns = ["comparison", "stem", "difference of SDR, dB", "p"]
    columns += ["with each seed"] * ("over_seeds" in content)
    lines += ["", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for pair, stems in differences.items():
        for stem, scores in stems.items():
            score = scores["SDR"]
            p = "" if score["p"] is None else f"{score['p']:.2g}"
            cells = [interval(score), p, *seeds_of(score)]
            lines.append(f"| {pair} | {stem} | {' | '.join(cells)} |")
    return "\n".join(lines)


def seeds_of(difference: dict[str, Any]) -> list[str]:
    """The differences with each seed as one cell; no cell for a single seed."""
    seeds = difference.get("seeds")
    return [] if seeds is None else [", ".join(f"{value:.2f}" for value in seeds)]


def scores_of(content: dict[str, Any]) -> dict[str, Any]:
    """The part of a result with the scores of all systems, which may include a peer."""
    return content.get("peer", content)


def interval(score: dict[str, Any]) -> str:
    if score["median"] is None:
        return "–"
    return f"{score['median']:.2f} [{score['low']:.1f}, {score['high']:.1f}]"
