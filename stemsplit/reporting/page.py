"""The HTML report of a run, several runs or a sweep, as one file that loads nothing."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from stemsplit.files import replacing
from stemsplit.reporting.charts import number
from stemsplit.reporting.curves import curves, overlaid
from stemsplit.reporting.embedding import embedded, strips
from stemsplit.reporting.excerpts import excerpts, side_by_side
from stemsplit.reporting.run_records import RunRecord, differing
from stemsplit.reporting.summaries import SHOWN, best_scored, environment, facts, qualities, table


def run_page(record: RunRecord) -> str:
    layers = {
        what: strips(record.layers(kind, end))
        for what, kind, end in (
            ("Weights", "weight", ""),
            ("Gradients of the weights", "gradient", ""),
            ("Activations", "activation", "/out"),
        )
    }
    return _render(
        title=f"{record.model} – {record.name}",
        headline=record.model,
        records=[record],
        facts=facts(record),
        qualities=qualities(record, best_scored(record)),
        charts=curves(record),
        excerpts=excerpts(record),
        layers={what: found for what, found in layers.items() if found},
        tables={label: table(result) for label, result in record.results.items()},
        environment=environment(record),
    )


def comparison_page(records: Sequence[RunRecord]) -> str:
    # Scores on test songs only if every run has them.
    labels = [best_scored(record) for record in records]
    if "validation" in labels:
        labels = ["validation"] * len(labels)
    return _render(
        title=f"{len(records)} trainings: {', '.join(record.name for record in records)}",
        headline=f"{len(records)} trainings",
        records=records,
        compared=[
            (record, facts(record), qualities(record, label))
            for record, label in zip(records, labels, strict=True)
        ],
        charts=overlaid(records),
        settings=differing(list(records)),
        excerpts=side_by_side(records),
        tables={
            f"{record.name}, {label}": table(result)
            for record in records
            for label, result in record.results.items()
        },
    )


def sweep_page(
    name: str,
    known: Mapping[str, str],
    records: Sequence[RunRecord],
    trials: Sequence[Mapping[str, Any]],
    heat_map: Path,
    best: str | None,
    importance: Mapping[str, float],
    ranking: Mapping[str, Any] | None,
) -> str:
    """`known` are facts of the sweep; a trial has a number, settings, a value and a state.

    `best` is the text of best.yaml. `records` are the runs of the trials whose curves are drawn, in
    the order of their colours.
    """
    return _render(
        title=f"Sweep {name}",
        headline=f"Sweep {name}",
        facts=known,
        records=records,
        trials=trials,
        swept=list(dict.fromkeys(setting for trial in trials for setting in trial["settings"])),
        heat_map=embedded(heat_map) if heat_map.is_file() else None,
        best=best,
        importance=importance,
        ranking=ranking,
        charts=overlaid(records),
    )


def write(path: Path, page: str) -> None:
    with replacing(path) as partial:
        # The name of a folder need not be UTF-8.
        partial.write_text(page, encoding="utf-8", errors="backslashreplace")


def _render(**content: Any) -> str:
    environment = Environment(
        loader=PackageLoader("stemsplit.reporting", "."),
        autoescape=True,  # names of songs and settings may hold HTML
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "decibels": decibels, "interval": interval}
    nothing = dict.fromkeys(
        ("facts", "qualities", "compared", "settings", "excerpts", "layers", "tables"), ()
    ) | dict.fromkeys(("trials", "swept", "importance", "environment"), ())
    absent = dict.fromkeys(("heat_map", "best", "ranking"))
    written = f"{datetime.now():%Y-%m-%d %H:%M}"
    template = environment.get_template("page.html")
    return template.render(**(nothing | absent | {"written": written, "SHOWN": SHOWN} | content))


def decibels(value: float | str | None) -> str:
    """Two decimals; a dash for a missing value. In JSON minus infinity is the text "-inf"."""
    if value == "-inf":
        return "−∞"
    if value is None or not math.isfinite(float(value)):
        return "–"
    return f"{float(value) + 0.0:.2f}".replace("-", "−")


def interval(score: Mapping[str, Any]) -> str:
    ends = [score.get(name) for name in ("low", "high")]
    if not all(end == "-inf" or (end is not None and math.isfinite(end)) for end in ends):
        return ""
    shown = ("−∞" if end == "-inf" else f"{end:.1f}" for end in ends)
    return f"[{', '.join(shown)}]".replace("-", "−")
