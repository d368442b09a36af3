"""The picture of a training's layers: one panel a quantity, one line a layer."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

from stemsplit.files import replacing

matplotlib.use("Agg")  # before pyplot: there may be no screen
from matplotlib import pyplot

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
    """Write it as a PNG. The first layer is dark and the last one bright.

    `history` holds pairs of step and root mean square for every quantity and layer; `blown` the
    step and the quantity at which a layer blew up, marked by a vertical line.
    """
    names = list(dict.fromkeys(name for of_layers in history.values() for name in of_layers))
    colours = matplotlib.colormaps["turbo"]
    colour = {name: colours((place + 0.5) / len(names)) for place, name in enumerate(names)}
    figure, axes = pyplot.subplots(2, 3, figsize=(15, 8), sharex=True, layout="constrained")
    try:
        lines = {}
        for axis, (quantity, title) in zip(axes.flat, PANELS.items(), strict=True):
            for name, series in history.get(quantity, {}).items():
                # A logarithm has no room for zero (a layer that is shut) and for infinity.
                steps, values = zip(
                    *((s, v if math.isfinite(v) and v > 0 else math.nan) for s, v in series),
                    strict=True,
                )
                (lines[name],) = axis.plot(steps, values, color=colour[name], marker=".", ms=3)
            for name, (step, what) in blown.items():
                if what == quantity:
                    axis.axvline(step, color=colour[name], linestyle=":")
            axis.set(title=title, yscale="log")
            axis.grid(alpha=0.3)
        for axis in axes[-1]:
            axis.set_xlabel("step")
        for axis in axes[:, 0]:
            axis.set_ylabel("root mean square")
        if blown:
            figure.suptitle("Dotted: the step and the quantity in which a layer blew up")
        every = math.ceil(len(names) / NAMED)
        named = [name for name in names[::every] if name in lines]
        figure.legend([lines[name] for name in named], named, loc="outside right upper")
        with replacing(path) as partial:
            figure.savefig(partial, format="png", dpi=80)
    finally:
        pyplot.close(figure)
