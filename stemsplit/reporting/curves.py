"""Charts of the metrics that one or more runs logged."""

import math
from collections.abc import Sequence

from stemsplit.reporting.charts import Chart, Series, line_chart
from stemsplit.reporting.run_records import RunRecord


def curves(record: RunRecord) -> list[Chart]:
    """Charts of the metrics that a run logged."""
    metrics = record.metrics

    def with_prefix(prefix: str) -> list[Series]:
        return [
            Series(name.removeprefix(prefix), points)
            for name, points in metrics.items()
            if name.startswith(prefix)
        ]

    losses = [
        Series("training", metrics.get("train/loss", [])),
        Series("validation", metrics.get("validation/loss", [])),
    ]
    charts = [
        line_chart("SDR on validation excerpts", "dB", with_prefix("validation/sdr/")),
        line_chart(
            "SDR gain over the mixture on validation excerpts",
            "dB",
            with_prefix("validation/gain/"),
        ),
        line_chart("Loss", "", losses, log=all_positive(losses)),
        line_chart("Learning rate", "", [Series("learning rate", metrics.get("lr", []))], log=True),
        line_chart(
            "Time per step",
            "s",
            [
                Series("training step", metrics.get("time/step_seconds", [])),
                Series("waiting for data", metrics.get("time/data_wait_seconds", [])),
            ],
        ),
    ]
    return [chart for chart in charts if chart is not None]


def overlaid(records: Sequence[RunRecord]) -> list[Chart]:
    """Charts with one curve per run. Each target has one chart of SDR and one of SDR gain."""
    stems = list(dict.fromkeys(stem for record in records for stem in record.targets))
    wanted = [
        *(
            (f"SDR of {stem} on validation excerpts", "dB", f"validation/sdr/{stem}")
            for stem in stems
        ),
        *(
            (f"SDR gain of {stem} on validation excerpts", "dB", f"validation/gain/{stem}")
            for stem in stems
        ),
        ("Validation loss", "", "validation/loss"),
        ("Training loss", "", "train/loss"),
        ("Learning rate", "", "lr"),
        ("Time per step", "s", "time/step_seconds"),
    ]
    charts = []
    for title, unit, metric in wanted:
        series = [Series(record.name, record.metrics.get(metric, [])) for record in records]
        log = metric == "lr" or (metric.endswith("loss") and all_positive(series))
        charts.append(line_chart(title, unit, series, log=log))
    return [chart for chart in charts if chart is not None]


def all_positive(losses: Sequence[Series]) -> bool:
    """Whether all losses are above 0, so that their axis can be logarithmic.

    The loss ``si_sdr``, for example, can be below 0.
    """
    return all(value > 0 for loss in losses for _, value in loss.points if math.isfinite(value))
