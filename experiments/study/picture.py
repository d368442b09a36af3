"""The picture of a result: losses during training, and scores with their intervals."""

import math
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter, ScalarFormatter

from experiments.study.plan import Plan
from experiments.study.tables import scores_of
from stemsplit.files import replacing

REFERENCES = ("IRM1", "IRM2", "IBM1", "MWF")  # oracles; only the last is drawn, to limit the axis


def draw(plan: Plan, content: dict[str, Any], path: Path) -> None:
    """Draw the losses of the runs and, beside them, the SDR of every system or the gradients.

    For a sweep, only its trials are drawn.
    """
    if "sweep" in content:
        save(sweep_figure(content["sweep"]), path)
        return
    if "gradients" in content:
        save(gradient_figure(content["runs"], content["gradients"]), path)
        return
    scored = "scores" in content
    figure, axes = plt.subplots(
        1,
        2 if scored else 1,
        figsize=(11 if scored else 6, 4.2),
        squeeze=False,
        layout="constrained",
    )
    draw_losses(axes[0][0], content["runs"])
    if scored:
        draw_scores(axes[0][1], plan, content)
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    with replacing(path) as partial:
        figure.savefig(partial, format="png", dpi=110, metadata={"Software": None})
    plt.close(figure)


def sweep_figure(sweep: dict[str, Any]) -> Figure:
    """The best trial for each learning rate and decay; full against small training set."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    rates, factors = (
        sorted({trial[name] for trial in sweep["trials"]})
        for name in ("optimizer.lr", "scheduler.factor")
    )
    best = [
        [
            max(
                (
                    trial["value"]
                    for trial in sweep["trials"]
                    if (trial["optimizer.lr"], trial["scheduler.factor"]) == (rate, factor)
                ),
                default=math.nan,  # all trials with these settings were pruned
            )
            for rate in rates
        ]
        for factor in factors
    ]
    image = left.imshow(best, origin="lower", aspect="auto")
    left.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
    left.set_yticks(range(len(factors)), [f"{factor:g}" for factor in factors])
    left.set_xlabel("learning rate")
    left.set_ylabel("factor of the decay")
    figure.colorbar(image, ax=left, label="SDR on validation excerpts, dB (downsampled)")
    trials = sweep["ranking"]["trials"]
    right.plot([t["downsampled"] for t in trials], [t["full"] for t in trials], "o")
    right.set_xlabel("SDR after training on the downsampled set, dB")
    right.set_ylabel("SDR after training on the full set, dB")
    right.grid(alpha=0.3)
    return figure


def gradient_figure(runs: dict[str, Any], gradients: dict[str, Any]) -> Figure:
    """Losses, the largest gradient of each layer relative to its first one, and zero gradients."""
    figure, axes = plt.subplots(1, 3, figsize=(16, 5.2), layout="constrained")
    draw_losses(axes[0], runs)
    layers = list(dict.fromkeys(layer for run in gradients.values() for layer in run))
    for panel, title, value in (
        (axes[1], "largest gradient / first gradient", ratio),
        (axes[2], "share of steps with gradient 0", lambda layer: layer["zero_share"]),
    ):
        values = np.array(
            [
                [value(of_run[layer]) if layer in of_run else math.nan for layer in layers]
                for of_run in gradients.values()
            ]
        )
        colours = np.log10(values) if panel is axes[1] else values
        panel.imshow(colours, aspect="auto", cmap="cividis", vmin=0)
        for row, column in np.ndindex(len(gradients), len(layers)):
            number = values[row][column]
            panel.text(
                column, row, f"{number:.2g}", ha="center", va="center", fontsize=8,
                color="white" if colours[row][column] < 0.6 * np.nanmax(colours) else "black",
            )  # fmt: skip
        panel.set_title(title, fontsize=10)
        panel.set_xticks(range(len(layers)), layers, rotation=30, ha="right", fontsize=8)
        panel.set_yticks(range(len(gradients)), list(gradients), fontsize=8)
    return figure


def ratio(layer: dict[str, Any]) -> float:
    return layer["largest"] / layer["first"] if layer["first"] else math.nan


def draw_losses(axes: Axes, runs: dict[str, Any]) -> None:
    """Training losses (thin) and validation losses (thick); one colour for each network."""
    positive = True
    networks = list(dict.fromkeys(map(network_of, runs)))
    palette = plt.get_cmap("tab20" if len(networks) > 10 else "tab10").colors
    colours = dict(zip(networks, cycle(palette), strict=False))
    for name, run in runs.items():
        colour = colours[network_of(name)]
        for metric, style in (
            ("train/loss", {"linewidth": 0.8, "alpha": 0.6}),
            ("validation/loss", {"linewidth": 2.0, "marker": ".", "markersize": 3}),
        ):
            points = run["curves"][metric]
            positive = positive and all(loss > 0 for _, loss in points)
            axes.plot(
                [step for step, _ in points], [loss for _, loss in points], color=colour, **style
            )
    if positive:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(2, 1)))
    axes.set_xlabel("step")
    axes.set_ylabel("loss: training (thin), validation (thick)")
    axes.grid(alpha=0.3)
    lines = [Line2D([], [], color=colour, linewidth=2.0) for colour in colours.values()]
    axes.legend(lines, colours, fontsize=8)


def network_of(run: str) -> str:
    """The name of a run without its seed."""
    return run.rpartition("-")[0]


def draw_scores(axes: Axes, plan: Plan, content: dict[str, Any]) -> None:
    """The median SDR of the first stem with its interval; published scores as diamonds."""
    scores = scores_of(content)["scores"]
    [stem, *_] = content["protocol"]["stems"]
    labels, row = [], 0
    for name in scores:
        if name in REFERENCES[:-1]:
            continue
        score = scores[name][stem]["SDR"]
        if score["median"] is None:
            continue
        axes.plot([score["low"], score["high"]], [row, row], color="C0", linewidth=2)
        axes.plot(score["median"], row, "o", color="C0")
        labels.append("ideal masks (MWF)" if name == REFERENCES[-1] else name)
        row += 1
    for source, stems in plan.published.items():
        if "SDR" in stems.get(stem, {}):
            axes.plot(stems[stem]["SDR"], row, "D", color="C1")
            labels.append(source)
            row += 1
    axes.set_yticks(range(row), labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(f"SDR of the {stem} in dB: median and 95 % interval")
    axes.grid(axis="x", alpha=0.3)
