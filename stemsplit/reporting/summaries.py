"""What the HTML report says of a run: its facts, its scores and its tables."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from stemsplit.evaluation.scores import METRICS
from stemsplit.evaluation.tables import GAIN
from stemsplit.reporting.run_records import RunRecord

SHOWN = (*METRICS, GAIN)
SUBSETS = {"valid": "validation", "test": "test"}


class Quality(NamedTuple):
    """The scores of a stem in a headline."""

    stem: str
    sdr: dict[str, Any]
    gain: dict[str, Any]


def facts(record: RunRecord) -> dict[str, str]:
    """The facts of a run, by name."""
    result = record.results.get("validation", {})
    trained = result.get("trained_on", {})
    return {
        "model": record.model,
        "corpus": str(result.get("corpus", record.config.get("corpus", "–"))),
        "fingerprint": str(trained.get("fingerprint", "–"))[:8],
        "songs": str(trained.get("songs", "–")),
        "epochs": str(record.epochs),
        "steps": str(result.get("steps", "–")),
        "seed": str(result.get("seed", record.config.get("seed", "–"))),
        "commit": str(result.get("commit") or "–")[:9],
        "written": f"{datetime.fromtimestamp(_last_change(record.folder)):%Y-%m-%d %H:%M}",
    }


def _last_change(folder: Path) -> float:
    files = [folder / name for name in ("metrics.csv", "result.json", "config.yaml")]
    return max(file.stat().st_mtime for file in files if file.is_file())


def best_scored(record: RunRecord) -> str:
    """The result for the headline: that of the test songs if there is one, else validation."""
    on_test = [label for label, one in record.results.items() if one.get("subset") == "test"]
    return on_test[0] if on_test else "validation"


def qualities(record: RunRecord, label: str) -> list[Quality]:
    """The scores of the targets in one of the run's results."""
    result = record.results.get(label, {})
    scores = result.get("scores", {})
    row = scores.get(record.model, {})
    base = scores.get("mixture", {})
    found = []
    for stem in record.targets:
        if sdr := row.get(stem, {}).get("SDR"):
            gain = row[stem].get(GAIN)
            if gain is None:  # older results have no gain song by song
                other = base.get(stem, {}).get("SDR", {}).get("median")
                both = sdr["median"] is not None and other is not None
                gain = {"median": sdr["median"] - other if both else None}
            found.append(
                Quality(stem, sdr | {"subset": SUBSETS.get(str(result.get("subset")), label)}, gain)
            )
    return found


def table(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result as the page shows it: scores of BSS Eval first, then those of whole songs."""
    protocol = result.get("protocol", "")
    others = dict.fromkeys(
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
        "others": list(others),
        "differences": result.get("differences", {}),
        "spreads": result.get("spreads", {}),
    }


def environment(record: RunRecord) -> dict[str, str]:
    for result in record.results.values():
        commit = {"commit": str(result.get("commit") or "–")}
        return commit | {name: str(found) for name, found in result.get("versions", {}).items()}
    return {}
