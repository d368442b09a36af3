"""Render the HTML report of a run, of several runs or of a sweep as one self-contained file."""

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
from stemsplit.reporting.summaries import (
    SHOWN,
    compared_headlines,
    environment,
    facts,
    headline_result,
    headlines,
    table,
)


def run_page(record: RunRecord) -> str:
    """The HTML page of one run."""
    layers = {
        title: strips(record.layers(kind, suffix))
        for title, kind, suffix in (
            ("Weights", "weight", ""),
            ("Gradients of the weights", "gradient", ""),
            ("Activations", "activation", "/out"),
        )
    }
    return _render(
        title=f"{record.model} – {record.name}",
        heading=record.model,
        records=[record],
        facts=facts(record),
        headlines=headlines(record, *headline_result(record)),
        charts=curves(record),
        excerpts=excerpts(record),
        layers={title: rows for title, rows in layers.items() if rows},
        tables={label: table(result) for label, result in record.results.items()},
        environment=environment(record),
    )


def comparison_page(
    records: Sequence[RunRecord], evaluations: Mapping[str, Mapping[str, Any]] | None = None
) -> str:
    """The HTML page that compares several runs. `evaluations` maps names to further results.

    If an evaluation scored all runs under their names, the headlines are the scores of the first
    such evaluation. Otherwise they are the runs' own scores: test scores if all runs have test
    scores, else validation scores.
    """
    evaluations = evaluations or {}
    own_tables = {
        f"{record.name}, {label}": table(result)
        for record in records
        for label, result in record.results.items()
    }
    parts = [
        count_text(len(items), word)
        for items, word in ((records, "training run"), (evaluations, "evaluation"))
        if items
    ]
    names = [*(record.name for record in records), *evaluations]
    return _render(
        title=f"{', '.join(parts)}: {', '.join(names)}",
        heading=", ".join(parts),
        records=records,
        compared=[
            (record, facts(record), record_headlines)
            for record, record_headlines in zip(
                records, compared_headlines(records, evaluations), strict=True
            )
        ],
        charts=overlaid(records) if records else [],
        settings=differing(list(records)),
        excerpts=side_by_side(records) if records else [],
        tables={name: table(result) for name, result in evaluations.items()} | own_tables,
    )


def count_text(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count > 1)}"


def sweep_page(
    name: str,
    sweep_facts: Mapping[str, str],
    records: Sequence[RunRecord],
    trials: Sequence[Mapping[str, Any]],
    heat_map: Path,
    best: str | None,
    importance: Mapping[str, float],
    ranking: Mapping[str, Any] | None,
) -> str:
    """The HTML page of a sweep.

    sweep_facts: names and values below the heading.
    records: the trials whose curves are drawn, in the order of their colours.
    trials: `number`, `settings`, `value` (dB), `state` and `best` of each trial.
    heat_map: a PNG, which may not exist.
    best: the text of ``best.yaml``.
    importance: how much each setting changes the SDR, as a share from 0 to 1.
    ranking: the content of ``ranking.json``.
    """
    return _render(
        title=f"Sweep {name}",
        heading=f"Sweep {name}",
        facts=sweep_facts,
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
    """Write a page atomically."""
    with replacing(path) as partial:
        # The name of a folder may contain bytes that are not UTF-8.
        partial.write_text(page, encoding="utf-8", errors="backslashreplace")


def _render(**content: Any) -> str:
    environment = Environment(
        loader=PackageLoader("stemsplit.reporting", "."),
        autoescape=True,  # names of songs and settings may contain markup
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "decibels": decibels, "interval": interval}
    empty = dict.fromkeys(
        ("facts", "headlines", "compared", "settings", "excerpts", "layers", "tables"), ()
    ) | dict.fromkeys(("trials", "swept", "importance", "environment"), ())
    absent = dict.fromkeys(("heat_map", "best", "ranking"))
    ours = {name for record in content["records"] for name in (record.model, record.name)}
    written = f"{datetime.now():%Y-%m-%d %H:%M}"
    template = environment.get_template("page.html")
    constant = {"written": written, "SHOWN": SHOWN, "ours": ours}
    return template.render(**(empty | absent | constant | content))


def decibels(value: float | str | None) -> str:
    """Format a value in dB with two decimals; None, NaN and plus infinity become a dash.

    The text "-inf" stands for minus infinity, because JSON has no number for it.
    """
    if value == "-inf":
        return "−∞"
    if value is None or not math.isfinite(float(value)):
        return "–"
    return f"{float(value) + 0.0:.2f}".replace("-", "−")


def interval(score: Mapping[str, Any]) -> str:
    """Format the interval of a score as ``[low, high]``; "" if it has none."""
    ends = [score.get(name) for name in ("low", "high")]
    if not all(end == "-inf" or (end is not None and math.isfinite(end)) for end in ends):
        return ""
    shown = ("−∞" if end == "-inf" else f"{end:.1f}" for end in ends)
    return f"[{', '.join(shown)}]".replace("-", "−")
