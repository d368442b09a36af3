"""Norms of the layers so far, and the first layer that blows up."""

import math
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

WORDS = {
    "weight": "the weights of {}",
    "activation/in": "the input of {}",
    "activation/out": "the output of {}",
    "gradient/out": "the gradient at the output of {}",
    "gradient": "the gradient of the weights of {}",
    "gradient/in": "the gradient at the input of {}",
}
REMEMBERED = 1000  # logged steps; of a longer run every second one, every fourth …
ENOUGH = 3  # logged steps before anything can be called large

Figures = dict[str, dict[str, float]]


class LayerHistory:
    """The figures of every quantity (the keys of `WORDS`) and layer: pairs of step and value.

    `blown` keeps at which step which quantity of a layer was found to have blown up; with one that
    is not finite, which soon spoils all others, the search is `over`.
    """

    def __init__(self, spacing: int, factor: float) -> None:
        self.spacing = spacing
        self.factor = factor
        self.series: dict[str, dict[str, list[tuple[int, float]]]] = {}
        self.blown: dict[str, tuple[int, str]] = {}
        self.over = False

    def add(self, step: int, figures: Figures, order: Sequence[str]) -> str | None:
        """Add a step's figures; return the first layer, in forward `order`, that blows up.

        That is one beyond `factor` times the median of its own figures so far, or not finite. None
        where there is none, or where it was found before.
        """
        found = None if self.over else self._first_out_of_proportion(figures, order)
        if step % self.spacing == 0:
            for quantity, of_layers in figures.items():
                series = self.series.setdefault(quantity, {})
                for name in sorted(of_layers, key=order.index):
                    series.setdefault(name, []).append((step, of_layers[name]))
        if step >= REMEMBERED * self.spacing:
            self._thin_out()
        if found is None:
            return None
        quantity, name, words = found
        if name in self.blown:
            return None
        self.blown[name] = (step, quantity)
        return words

    def _first_out_of_proportion(
        self, figures: Figures, order: Sequence[str]
    ) -> tuple[str, str, str] | None:
        for quantity, name in causes_first(order):
            value = figures.get(quantity, {}).get(name)
            if value is None:
                continue
            words = f"{WORDS[quantity].format(name)} has a root mean square of {value:.3g}"
            if not math.isfinite(value):
                self.over = True
                return quantity, name, words
            usual = self._usual(quantity, name)
            if usual and value > self.factor * usual:
                return quantity, name, f"{words}, {value / usual:.0f} times its median so far"
        return None

    def _usual(self, quantity: str, name: str) -> float:
        """The median so far; 0 while there are too few finite values."""
        series = self.series.get(quantity, {}).get(name, [])
        values = [value for _, value in series if math.isfinite(value)]
        return median(values) if len(values) >= ENOUGH else 0.0

    def _thin_out(self) -> None:
        self.spacing *= 2
        for of_layers in self.series.values():
            for series in of_layers.values():
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


def causes_first(order: Sequence[str]) -> Iterable[tuple[str, str]]:
    """Quantities and layers in causal order; `order` is that of the forward pass."""
    for name in order:
        yield "weight", name
    for name in order:
        yield "activation/in", name
        yield "activation/out", name
    for name in reversed(order):
        yield "gradient/out", name
        yield "gradient", name
        yield "gradient/in", name
