"""Plot the norms of all layers: one panel per quantity, one line per layer."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from stemsplit.evaluation.spectrograms import write_figure

PANELS = {
    "weight": "weights",
    "activation/in": "inputs",
    "activation/out": "outputs",
    "gradient": "gradients of weights",
    "gradient/in": "gradients of inputs",
    "gradient/out": "gradients of outputs",
}
MAX_LEGEND = 24  # layers in the legend

Series = Mapping[str, Mapping[str, Sequence[tuple[int, float]]]]


def draw(history: Series, blown: Mapping[str, tuple[int, str]], path: Path) -> None:
    """Write the plot of `layers_figure` as a PNG file."""
    write_figure(layers_figure(history, blown), path)


def layers_figure(history: Series, blown: Mapping[str, tuple[int, str]]) -> Figure:
    """Plot one panel per quantity and one line per layer, coloured from first to last layer.

    ``history[quantity][layer]`` is a list of pairs of step and root mean square. ``blown[layer]``
    is the step and the quantity in which the layer blew up, shown by a dotted vertical line. Values
    that a logarithmic axis cannot show (zero, NaN, infinity) are left out.
    """
    names = list(dict.fromkeys(name for by_layer in history.values() for name in by_layer))
    colours = matplotlib.colormaps["turbo"]
    colour = {name: colours((index + 0.5) / len(names)) for index, name in enumerate(names)}
    figure = Figure(figsize=(15, 8), layout="constrained")
    axes = figure.subplots(2, 3, sharex=True)
    lines = {}
    for axis, (quantity, title) in zip(axes.flat, PANELS.items(), strict=True):
        shown = False
        for name, series in history.get(quantity, {}).items():
            steps = [step for step, _ in series]
            values = [v if math.isfinite(v) and v > 0 else math.nan for _, v in series]
            (lines[name],) = axis.plot(steps, values, color=colour[name], marker=".", ms=3)
            shown = shown or not all(map(math.isnan, values))
        for name, (step, blown_quantity) in blown.items():
            if blown_quantity == quantity:
                axis.axvline(step, color=colour[name], linestyle=":")
        axis.set(title=title, yscale="log")
        if not shown:  # the default limits of an empty panel are invalid on a logarithmic axis
            axis.set_ylim(0.1, 10)
        axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("step")
    for axis in axes[:, 0]:
        axis.set_ylabel("root mean square")
    if blown:
        figure.suptitle("Dotted lines: a layer blew up at this step, in this quantity")
    every = max(1, math.ceil(len(names) / MAX_LEGEND))
    labels = [name for name in names[::every] if name in lines]
    figure.legend([lines[name] for name in labels], labels, loc="outside right upper")
    return figure
