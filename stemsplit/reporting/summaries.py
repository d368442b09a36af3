"""Summarise a run for the HTML report: facts, headline scores and tables."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from stemsplit.evaluation.rows import GAIN
from stemsplit.evaluation.scores import METRICS
from stemsplit.reporting.run_facts import short_name
from stemsplit.reporting.run_records import RunRecord

SHOWN = (*METRICS, GAIN)
SUBSETS = {"valid": "validation", "test": "test"}


class Headline(NamedTuple):
    """SDR of a stem and its gain over the mixture, with intervals as in ``result.json``."""

    stem: str
    sdr: dict[str, Any]
    gain: dict[str, Any]


def facts(record: RunRecord) -> dict[str, str]:
    """Names and values below the heading of a run's page."""
    result = record.results.get("validation", {})
    trained = result.get("trained_on", {})
    weights = record.config.get("weights")
    return {
        "model": record.model,
        **({"started from": short_name(str(weights))} if weights else {}),
        "corpus": str(result.get("corpus", record.config.get("corpus", "–"))),
        "fingerprint": str(trained.get("fingerprint", "–"))[:8],
        "training songs": str(trained.get("songs", "–")),
        "epochs": str(record.epochs),
        "steps": str(result.get("steps", "–")),
        "seed": str(result.get("seed", record.config.get("seed", "–"))),
        "commit": str(result.get("commit") or "–")[:9],
        "last change": f"{datetime.fromtimestamp(_last_change(record.folder)):%Y-%m-%d %H:%M}",
    }


def _last_change(folder: Path) -> float:
    files = [folder / name for name in ("metrics.csv", "result.json", "config.yaml")]
    return max(file.stat().st_mtime for file in files if file.is_file())


def headline_result(record: RunRecord) -> tuple[Mapping[str, Any], str]:
    """The result shown in the headline, and the name of the run in this result.

    If the test songs were scored, this is their result. Otherwise it is the validation result.
    """
    tests = [result for result in record.results.values() if result.get("subset") == "test"]
    return (tests or [record.results.get("validation", {})])[0], record.model


def compared_headlines(
    records: Sequence[RunRecord], evaluations: Mapping[str, Mapping[str, Any]]
) -> list[list[Headline]]:
    """The headlines of each run, all on songs of the same subset.

    If an evaluation scored all runs under their names, the first such evaluation is used. Otherwise
    the runs' own results are used: the test results if all runs have them, else the validation
    results.
    """
    for result in evaluations.values():
        if all(record.name in result["scores"] for record in records):
            return [headlines(record, result, record.name) for record in records]
    results = [headline_result(record) for record in records]
    if any(result.get("subset") != "test" for result, _ in results):
        results = [(record.results.get("validation", {}), record.model) for record in records]
    return [
        headlines(record, result, name)
        for record, (result, name) in zip(records, results, strict=True)
    ]


def headlines(record: RunRecord, result: Mapping[str, Any], name: str) -> list[Headline]:
    """Headlines of all targets that have an SDR; `name` is the run's name in the result."""
    scores = result.get("scores", {})
    row = scores.get(name, {})
    mixture = scores.get("mixture", {})
    of_targets = []
    for stem in record.targets:
        if sdr := row.get(stem, {}).get("SDR"):
            gain = row[stem].get(GAIN)
            if gain is None:  # a result of an older version, without paired gains
                of_mixture = mixture.get(stem, {}).get("SDR", {}).get("median")
                defined = sdr["median"] is not None and of_mixture is not None
                gain = {"median": sdr["median"] - of_mixture if defined else None}
            subset = SUBSETS.get(str(result.get("subset")), "validation")
            of_targets.append(Headline(stem, sdr | {"subset": subset}, gain))
    return of_targets


def table(result: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a result that a page shows; `song_metrics` are the metrics of whole songs."""
    protocol = result.get("protocol", "")
    song_metrics = dict.fromkeys(
        metric
        for stems in result["scores"].values()
        for metrics in stems.values()
        for metric in metrics
        if metric not in SHOWN
    )
    return {
        "result": result,
        "protocol": protocol if isinstance(protocol, str) else protocol["tag"],
        "frames": result.get("frames", {}),
        "song_metrics": list(song_metrics),
        "differences": result.get("differences", {}),
        "spreads": result.get("spreads", {}),
    }


def environment(record: RunRecord) -> dict[str, str]:
    """Commit and package versions of the run's first result."""
    for result in record.results.values():
        commit = {"commit": str(result.get("commit") or "–")}
        return commit | {name: str(text) for name, text in result.get("versions", {}).items()}
    return {}
