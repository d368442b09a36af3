"""History of layer norms, and detection of the first layer that blows up."""

import math
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

DESCRIPTIONS = {
    "weight": "the weights of {}",
    "activation/in": "the input of {}",
    "activation/out": "the output of {}",
    "gradient/out": "the gradient at the output of {}",
    "gradient": "the gradient of the weights of {}",
    "gradient/in": "the gradient at the input of {}",
}
MAX_STEPS = 1000  # kept steps; in longer runs, only every second, fourth, … logged step is kept
MIN_STEPS = 3  # logged steps that are needed for a median

Figures = dict[str, dict[str, float]]


class LayerHistory:
    """The norms of all quantities and layers over the logged steps.

    ``series[quantity][layer]`` is a list of pairs of step and root mean square; quantities are the
    keys of `DESCRIPTIONS`. ``blown[layer]`` contains the step at which the layer blew up, and the
    quantity. `over` is true after the first non-finite value, because such a value spreads to all
    other layers.

    `spacing` is the number of steps between kept values. It starts as the number of steps between
    logged values, and doubles in long runs. A value blows up if it exceeds `factor` times the
    median of its series, or is not finite.
    """

    def __init__(self, spacing: int, factor: float) -> None:
        self.spacing = spacing
        self.factor = factor
        self.series: dict[str, dict[str, list[tuple[int, float]]]] = {}
        self.blown: dict[str, tuple[int, str]] = {}
        self.over = False

    def add(self, step: int, figures: Figures, order: Sequence[str]) -> str | None:
        """Add the norms of a step; describe the first layer that blows up.

        `order` lists the layers in the order of the forward pass. Returns None if no layer blows
        up at this step. Also returns None if the first layer that blows up at this step has been
        described at an earlier step.
        """
        anomaly = None if self.over else self._first_anomaly(figures, order)
        if step % self.spacing == 0:
            for quantity, by_layer in figures.items():
                series = self.series.setdefault(quantity, {})
                for name in sorted(by_layer, key=order.index):
                    series.setdefault(name, []).append((step, by_layer[name]))
        if step >= MAX_STEPS * self.spacing:
            self._thin_out()
        if anomaly is None:
            return None
        quantity, name, description = anomaly
        if name in self.blown:
            return None
        self.blown[name] = (step, quantity)
        return description

    def _first_anomaly(self, figures: Figures, order: Sequence[str]) -> tuple[str, str, str] | None:
        """Quantity, layer and description of the first value that blows up."""
        for quantity, name in causal_order(order):
            value = figures.get(quantity, {}).get(name)
            if value is None:
                continue
            subject = DESCRIPTIONS[quantity].format(name)
            description = f"{subject} has a root mean square of {value:.3g}"
            if not math.isfinite(value):
                self.over = True
                return quantity, name, description
            typical = self._median(quantity, name)
            if typical and value > self.factor * typical:
                ratio = f"{value / typical:.0f} times its median so far"
                return quantity, name, f"{description}, {ratio}"
        return None

    def _median(self, quantity: str, name: str) -> float:
        """The median of a series; 0 if there are too few finite values."""
        series = self.series.get(quantity, {}).get(name, [])
        values = [value for _, value in series if math.isfinite(value)]
        return median(values) if len(values) >= MIN_STEPS else 0.0

    def _thin_out(self) -> None:
        self.spacing *= 2
        for by_layer in self.series.values():
            for series in by_layer.values():
                series[:] = [(step, value) for step, value in series if step % self.spacing == 0]

    def state_dict(self) -> dict[str, Any]:
        return {
            "spacing": self.spacing,
            "series": self.series,
            "blown": self.blown,
            "over": self.over,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.spacing = state_dict["spacing"]
        self.series = state_dict["series"]
        self.blown = state_dict["blown"]
        self.over = state_dict["over"]


def causal_order(order: Sequence[str]) -> Iterable[tuple[str, str]]:
    """Yield quantities and layers so that causes precede effects; `order` is the forward order."""
    for name in order:
        yield "weight", name
    for name in order:
        yield "activation/in", name
        yield "activation/out", name
    for name in reversed(order):
        yield "gradient/out", name
        yield "gradient", name
        yield "gradient/in", name
