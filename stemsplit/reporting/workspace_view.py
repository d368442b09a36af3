"""The Weights & Biases dashboard as code: a view with a panel for every logged metric.

Needs the extra ``dashboard``; see `stemsplit.workspace`.
"""

import json
from collections.abc import Sequence
from typing import Any

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws

STEP = "trainer/global_step"
LAYERS = {"weight": "weights", "gradient": "gradients", "activation": "activations"}
# The settings that the sweeps in conf/sweep vary, and whether their axis is logarithmic.
SWEPT = {"optimizer.lr": True, "optimizer.weight_decay": True, "scheduler.factor": False}
WIDE = wr.Layout(w=24, h=10)


def workspace(
    entity: str, project: str, stems: Sequence[str] = ("vocals",), excerpts: int = 2
) -> ws.Workspace:
    """The view for runs with these target stems and this number of logged excerpts."""
    sections: dict[str, list[Any]] = {
        "Scores": scores(stems),
        "Losses": [
            line("Loss", ["train/loss", "validation/loss"]),
            line("Learning rate", ["lr"], log_y=True),
        ],
        "Excerpts": [audio(number, stems) for number in range(excerpts)]
        + [spectrograms(number, stems) for number in range(excerpts)],
        "Layers": [
            wr.LinePlot(
                title=f"Root mean square of {title}",
                x=STEP,
                metric_regex=f"^norm/{kind}/.*",
                log_y=True,
                max_runs_to_show=1,
            )
            for kind, title in LAYERS.items()
        ],
        "Speed": [
            line(
                "Seconds per step", ["time/step_seconds", "time/data_wait_seconds"], from_zero=True
            )
        ],
        "Sweep": sweep(f"validation/sdr/{stems[0]}"),
    }
    return ws.Workspace(
        entity=entity,
        project=project,
        name="stemsplit",
        sections=[
            ws.Section(name=name, panels=panels, is_open=True) for name, panels in sections.items()
        ],
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=20),
    )


def scores(stems: Sequence[str]) -> list[Any]:
    """Panels of scores: SDR of excerpts during training, BSS Eval of complete songs after it."""
    return [
        line("SDR on validation excerpts (dB)", [f"validation/sdr/{stem}" for stem in stems]),
        line(
            "SDR gain over the mixture on validation excerpts (dB)",
            [f"validation/gain/{stem}" for stem in stems],
        ),
        *(
            bars(f"{metric} on {songs} songs (dB)", f"score/{subset}/{{}}/{metric}", stems)
            for songs, subset in (("validation", "valid"), ("test", "test"))
            for metric in ("SDR", "SDR gain")
        ),
        wr.WeavePanelSummaryTable(table_name="scores/valid", layout=WIDE),
        wr.WeavePanelSummaryTable(table_name="scores/test", layout=WIDE),
    ]


def line(title: str, metrics: list[Any], log_y: bool = False, from_zero: bool = False) -> Any:
    return wr.LinePlot(
        title=title,
        x=STEP,
        y=metrics,
        log_y=log_y,
        range_y=(0, None) if from_zero else (None, None),
    )


def bars(title: str, metric: str, stems: Sequence[str]) -> Any:
    return wr.BarPlot(title=title, metrics=[metric.format(stem) for stem in stems])


def audio(number: int, stems: Sequence[str]) -> Any:
    names = ["mixture", *(f"{s}/{kind}" for s in stems for kind in ("reference", "estimate"))]
    return media(f"Excerpt {number}: mixture, reference, estimate", number, names)


def spectrograms(number: int, stems: Sequence[str]) -> Any:
    names = [f"{stem}/spectrograms" for stem in stems]
    return media(f"Excerpt {number}: spectrograms", number, names)


def media(title: str, number: int, names: Sequence[str]) -> Any:
    return wr.MediaBrowser(
        title=title,
        media_keys=[f"excerpts/{number}/{name}" for name in names],
        mode="gallery",
        gallery_axis="step",
        layout=WIDE,
    )


def sweep(objective: str) -> list[Any]:
    """Panels of the tuned settings and the objective, for the runs of a sweep."""
    columns = [
        wr.ParallelCoordinatesPlotColumn(metric=wr.Config(setting), log=log)
        for setting, log in SWEPT.items()
    ]
    columns.append(wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(objective)))
    return [
        wr.ParallelCoordinatesPlot(title="Trials", columns=columns, layout=WIDE),
        wr.ParameterImportancePlot(with_respect_to=objective),
        *(
            wr.ScatterPlot(
                title=f"SDR (dB) by {setting}",
                x=wr.Config(setting),
                y=wr.SummaryMetric(objective),
                log_x=log,
            )
            for setting, log in SWEPT.items()
        ),
    ]


def specification(view: ws.Workspace) -> dict[str, Any]:
    """The view in plain values, as `Workspace.save` sends it."""
    # The package has no public method that returns what `Workspace.save` sends.
    model = view._to_model()  # noqa: SLF001
    values: dict[str, Any] = json.loads(model.model_dump_json(by_alias=True, exclude_none=True))
    return values
