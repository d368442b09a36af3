"""The curves of a training, or of several in the same charts."""

import math
from collections.abc import Sequence

from stemsplit.reporting.charts import Chart, Series, line_chart
from stemsplit.reporting.run_records import RunRecord


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
    """Each chart has one curve per run; SDR and gain have a chart for every stem."""
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
    """Whether all losses are positive, unlike −SI-SDR, and so fit a logarithmic axis."""
    return all(value > 0 for one in losses for _, value in one.points if math.isfinite(value))
