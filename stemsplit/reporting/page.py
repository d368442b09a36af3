"""The HTML report of a run, of runs side by side or of a sweep: one file, nothing to load."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from stemsplit.evaluation.scores import METRICS
from stemsplit.evaluation.tables import GAIN
from stemsplit.files import replacing
from stemsplit.reporting.charts import Chart, Series, embedded, line_chart, number, strips
from stemsplit.reporting.excerpts import excerpts, side_by_side
from stemsplit.reporting.run_records import RunRecord, differing

SHOWN = (*METRICS, GAIN)
SUBSETS = {"valid": "validation", "test": "test"}


class Quality(NamedTuple):
    """What a headline says of a stem."""

    stem: str
    sdr: dict[str, Any]
    gain: dict[str, Any]


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
    # Of test songs only where all were scored on some.
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
    """`known`: facts of all; `trials`: number, settings, value and state; `best`: of best.yaml.

    `records` are of the trials whose curves are drawn, in the order of their colours.
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
        # A folder's name may be no UTF-8.
        partial.write_text(page, encoding="utf-8", errors="backslashreplace")


def _render(**content: Any) -> str:
    environment = Environment(
        loader=PackageLoader("stemsplit.reporting", "."),
        autoescape=True,  # names of songs and settings are anyone's
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
    """Two decimals; a dash where there is no figure. Minus infinity stands as text in JSON."""
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


def facts(record: RunRecord) -> dict[str, str]:
    """What a run was, in a line."""
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
    """What a headline is of: the test songs where they were scored, else the validation songs."""
    on_test = [label for label, one in record.results.items() if one.get("subset") == "test"]
    return on_test[0] if on_test else "validation"


def qualities(record: RunRecord, label: str) -> list[Quality]:
    """Of the targets, by one of the run's results."""
    result = record.results.get(label, {})
    scores = result.get("scores", {})
    row = scores.get(record.model, {})
    base = scores.get("mixture", {})
    found = []
    for stem in record.targets:
        if sdr := row.get(stem, {}).get("SDR"):
            gain = row[stem].get(GAIN)
            if gain is None:  # results before it was measured song by song
                other = base.get(stem, {}).get("SDR", {}).get("median")
                both = sdr["median"] is not None and other is not None
                gain = {"median": sdr["median"] - other if both else None}
            found.append(
                Quality(stem, sdr | {"subset": SUBSETS.get(str(result.get("subset")), label)}, gain)
            )
    return found


def table(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result as its page shows it: BSS Eval's scores, then those of whole songs."""
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


def curves(record: RunRecord) -> list[Chart]:
    metrics = record.metrics

    def several(prefix: str) -> list[Series]:
        return [
            Series(name.removeprefix(prefix), points)
            for name, points in metrics.items()
            if name.startswith(prefix)
        ]

    def named(**names: str) -> list[Series]:
        return [Series(label, metrics.get(name, [])) for label, name in names.items()]

    losses = named(training="train/loss", validation="validation/loss")
    charts = [
        line_chart("SDR on the validation excerpts", "dB", several("validation/sdr/")),
        line_chart("Gain over the mixture", "dB", several("validation/gain/")),
        line_chart("Loss", "", losses, log=by_decades(losses)),
        line_chart("Learning rate", "", named(rate="lr"), log=True),
        line_chart(
            "Time per step",
            "s",
            named(step="time/step_seconds", waiting="time/data_wait_seconds"),
        ),
    ]
    return [chart for chart in charts if chart is not None]


def overlaid(records: Sequence[RunRecord]) -> list[Chart]:
    """The same curve of every run; SDR and gain of each stem that any has."""
    stems = list(dict.fromkeys(stem for record in records for stem in record.targets))
    wanted = [
        *(
            (f"SDR of the {s} on the validation excerpts", "dB", f"validation/sdr/{s}")
            for s in stems
        ),
        *((f"Gain of the {s} over the mixture", "dB", f"validation/gain/{s}") for s in stems),
        ("Validation loss", "", "validation/loss"),
        ("Training loss", "", "train/loss"),
        ("Learning rate", "", "lr"),
        ("Time per step", "s", "time/step_seconds"),
    ]
    charts = []
    for title, unit, metric in wanted:
        series = [Series(record.name, record.metrics.get(metric, [])) for record in records]
        log = metric == "lr" or (metric.endswith("loss") and by_decades(series))
        charts.append(line_chart(title, unit, series, log=log))
    return [chart for chart in charts if chart is not None]


def by_decades(losses: Sequence[Series]) -> bool:
    """Whether losses have logarithms; −SI-SDR, for one, has none."""
    return all(value > 0 for one in losses for _, value in one.points if math.isfinite(value))
