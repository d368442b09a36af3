"""The result of an experiment as Markdown tables."""

from typing import Any

from experiments.study.plan import Plan


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
    if score["low"] is None:  # a single song
        return f"{score['median']:.2f}"
    return f"{score['median']:.2f} [{score['low']:.1f}, {score['high']:.1f}]"
