"""Curves and strips for the HTML report, as inline SVG and small pictures."""

import base64
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.image import imsave
from matplotlib.ticker import Locator, LogLocator, MaxNLocator

from stemsplit.errors import InputError

WIDTH, HEIGHT = 380, 210  # of the drawing, of which a page may show more or less
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 8, 36
COLOURS = 7  # that a page has, as --series-1 and so on
STRIP = 96  # columns of a layer's strip

Point = tuple[float, float]
TYPES = {".png": "image/png", ".mp3": "audio/mpeg"}


class Series(NamedTuple):
    label: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Chart:
    """`svg` with its axes, and what a legend and a pointer need to know of it."""

    title: str
    unit: str
    svg: Markup
    labels: list[tuple[str, int]]  # and the number of its colour
    data: str  # JSON: the series, and where they lie in the drawing
    summary: str  # in words


def line_chart(
    title: str, unit: str, series: Iterable[Series], log: bool = False, x: str = "step"
) -> Chart | None:
    """Curves over `x`; None where there is nothing to draw. `log`: positive values by decades.

    A colour belongs to a series' place among all, whether the others have points or not.
    """
    drawn = []
    labels = []
    for place, (label, points) in enumerate(series):
        shown = [(a, b) for a, b in points if math.isfinite(b) and (b > 0 or not log)]
        if shown:
            drawn.append(Series(label, shown))
            labels.append((label, place % COLOURS + 1))
    if not drawn:
        return None
    xs = [a for one in drawn for a, _ in one.points]
    ys = [b for one in drawn for _, b in one.points]
    across = Axis.around(xs, False, LEFT, WIDTH - RIGHT)
    up = Axis.around(ys, log, HEIGHT - BOTTOM, TOP)
    parts = []
    for value in up.ticks():
        y = up.place(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number(value)}</text>'
        )
    for value in across.ticks():
        label = f'<text x="{across.place(value)}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">'
        parts.append(f"{label}{number(value)}</text>")
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 3}" text-anchor="middle">{escape(x)}</text>')
    for one, (_, colour) in zip(drawn, labels, strict=True):
        path = " ".join(f"{across.place(a)},{up.place(b)}" for a, b in one.points)
        style = f"--colour: var(--series-{colour})"
        if len(one.points) > 1:
            parts.append(f'<polyline class="curve" style="{style}" points="{path}"/>')
        if len(one.points) <= 24:
            parts += [
                f'<circle class="dot" style="{style}" cx="{across.place(a)}" '
                f'cy="{up.place(b)}" r="2.5"/>'
                for a, b in one.points
            ]
    parts.append(f'<line class="cursor" y1="{TOP}" y2="{HEIGHT - BOTTOM}" x1="0" x2="0"/>')
    summary = "; ".join(
        f"{one.label}: from {number(one.points[0][1])} to {number(one.points[-1][1])}"
        for one in drawn
    )
    svg = Markup(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}: '
        f'{escape(summary)} {escape(unit)}">{"".join(parts)}</svg>'
    )
    data = {
        "x": [across.low, across.high, LEFT, WIDTH - RIGHT],
        "name": x,
        "series": [
            {"label": one.label, "points": [[a, float(f"{b:.4g}")] for a, b in one.points]}
            for one in drawn
        ],
    }
    return Chart(title, unit, svg, labels, json.dumps(data), summary)


class Axis(NamedTuple):
    """From values to places in a drawing; `log` by decades."""

    low: float
    high: float
    log: bool
    start: float
    end: float

    @classmethod
    def around(cls, values: Sequence[float], log: bool, start: float, end: float) -> "Axis":
        low, high = min(values), max(values)
        if log:
            # At least a part of a decade, so that a constant is a line in the middle.
            centre = math.sqrt(low * high)
            low, high = min(low, centre / 2), max(high, centre * 2)
        elif low == high:
            low, high = low - max(0.5, abs(low) / 10), high + max(0.5, abs(high) / 10)
        return cls(low, high, log, start, end)

    def place(self, value: float) -> float:
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(self) -> list[float]:
        """At most eight round values."""
        if self.log:
            narrow = self.high < 100 * self.low
            locator: Locator = LogLocator(subs=(1, 2, 5) if narrow else (1,), numticks=6)
        else:
            locator = MaxNLocator(5, steps=[1, 2, 5, 10])
        first, last = sorted((self.start, self.end))
        values = locator.tick_values(self.low, self.high)  # which may go beyond the axis
        return [float(value) for value in values if first <= self.place(value) <= last]


def number(value: float | None) -> str:
    """With three or four significant digits; a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        digits = max(0, 3 - math.floor(math.log10(abs(value))))
        text = f"{value:.{min(digits, 4)}f}"
        return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}".replace("-", "−")


class Strip(NamedTuple):
    """One layer's figures from the first logged step to the last."""

    layer: str
    picture: str  # a data URI
    first: float
    last: float


def strips(layers: dict[str, list[Point]]) -> list[Strip]:
    """Of layers' sizes over the steps: dark is small and bright is large, one scale for all.

    A zero, as of a layer that is shut or frozen, is as dark as the smallest size.
    """
    values = [b for points in layers.values() for _, b in points if math.isfinite(b) and b > 0]
    if not values:
        return []
    smallest = min(values)
    low, high = math.log(smallest), math.log(max(values))
    found = []
    for layer, points in layers.items():
        kept = [
            points[i] for i in np.linspace(0, len(points) - 1, min(STRIP, len(points))).astype(int)
        ]
        row = [math.log(max(b, smallest)) if math.isfinite(b) else math.nan for _, b in kept]
        colours = matplotlib.colormaps["viridis"].with_extremes(bad="red")
        share = (np.array([row]) - low) / max(high - low, 1e-9)
        file = io.BytesIO()
        imsave(file, colours(np.ma.masked_invalid(share)), format="png")
        uri = data_uri(file.getvalue(), TYPES[".png"])
        found.append(Strip(layer, uri, points[0][1], points[-1][1]))
    return found


def embedded(path: Path) -> str:
    """A picture (PNG) or a sound (MP3) as a data URI."""
    if path.suffix not in TYPES:
        raise InputError(f"{path}: a page holds {' and '.join(TYPES)}, not {path.suffix or 'this'}")
    return data_uri(path.read_bytes(), TYPES[path.suffix])


def data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
