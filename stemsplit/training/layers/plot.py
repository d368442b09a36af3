"""Draw the norms of all layers: one panel a quantity, one line a layer."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from stemsplit.evaluation.spectrograms import write_figure

PANELS = {
    "weight": "weights",
    "activation/in": "activations going in",
    "activation/out": "activations coming out",
    "gradient": "gradients of the weights",
    "gradient/in": "gradients at the input",
    "gradient/out": "gradients at the output",
}
NAMED = 24  # layers in the legend

Series = Mapping[str, Mapping[str, Sequence[tuple[int, float]]]]


def draw(history: Series, blown: Mapping[str, tuple[int, str]], path: Path) -> None:
    """Write the picture of `layers_figure` as a PNG."""
    write_figure(layers_figure(history, blown), path)


def layers_figure(history: Series, blown: Mapping[str, tuple[int, str]]) -> Figure:
    """A panel for every quantity, a line for every layer: the first is dark, the last bright.

    `history` holds pairs of step and root mean square for every quantity and layer; `blown` the
    step and the quantity at which a layer blew up, marked by a vertical line. Values that a
    logarithmic axis cannot show (zero, NaN, infinity) are left out.
    """
    names = list(dict.fromkeys(name for of_layers in history.values() for name in of_layers))
    colours = matplotlib.colormaps["turbo"]
    colour = {name: colours((place + 0.5) / len(names)) for place, name in enumerate(names)}
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
        for name, (step, what) in blown.items():
            if what == quantity:
                axis.axvline(step, color=colour[name], linestyle=":")
        axis.set(title=title, yscale="log")
        if not shown:  # matplotlib chooses limits that a logarithmic axis refuses
            axis.set_ylim(0.1, 10)
        axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("step")
    for axis in axes[:, 0]:
        axis.set_ylabel("root mean square")
    if blown:
        figure.suptitle("Dotted: the step and the quantity in which a layer blew up")
    every = max(1, math.ceil(len(names) / NAMED))
    named = [name for name in names[::every] if name in lines]
    figure.legend([lines[name] for name in named], named, loc="outside right upper")
    return figure
