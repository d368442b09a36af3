"""Line charts for the HTML report, as inline SVG."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup, escape
from matplotlib.ticker import Locator, LogLocator, MaxNLocator

WIDTH, HEIGHT = 380, 210  # size of the drawing; the page scales it
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 8, 36  # margins around the plot
COLOURS = 7  # number of colours in the page's style sheet: --series-1 to --series-7

Point = tuple[float, float]


class Series(NamedTuple):
    label: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Chart:
    """A chart as SVG, with the data for its legend and for the values shown at the pointer."""

    title: str
    unit: str
    svg: Markup
    labels: list[tuple[str, int]]  # label and colour number of each series
    data: str  # JSON: the points of all series; value and position of both ends of the x axis
    summary: str  # first and last value of each series, for screen readers


def line_chart(
    title: str, unit: str, series: Iterable[Series], log: bool = False, x: str = "step"
) -> Chart | None:
    """Draw series as curves over `x`; return None if there is no point to draw.

    NaN and infinity are left out. With `log`, the vertical axis is logarithmic, and values of 0 or
    less are left out. The colour of a series depends only on its position in `series`, so the
    colour stays the same if other series have no points.
    """
    drawn = []
    labels = []
    for position, (label, points) in enumerate(series):
        drawable = [(a, b) for a, b in points if math.isfinite(b) and (b > 0 or not log)]
        if drawable:
            drawn.append(Series(label, drawable))
            labels.append((label, position % COLOURS + 1))
    if not drawn:
        return None
    xs = [a for curve in drawn for a, _ in curve.points]
    ys = [b for curve in drawn for _, b in curve.points]
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
    for curve, (_, colour) in zip(drawn, labels, strict=True):
        path = " ".join(f"{across.place(a)},{up.place(b)}" for a, b in curve.points)
        style = f"--colour: var(--series-{colour})"
        if len(curve.points) > 1:
            parts.append(f'<polyline class="curve" style="{style}" points="{path}"/>')
        if len(curve.points) <= 24:
            parts += [
                f'<circle class="dot" style="{style}" cx="{across.place(a)}" '
                f'cy="{up.place(b)}" r="2.5"/>'
                for a, b in curve.points
            ]
    parts.append(f'<line class="cursor" y1="{TOP}" y2="{HEIGHT - BOTTOM}" x1="0" x2="0"/>')
    summary = "; ".join(
        f"{curve.label}: from {number(curve.points[0][1])} to {number(curve.points[-1][1])}"
        for curve in drawn
    )
    svg = Markup(
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}: '
        f'{escape(summary)} {escape(unit)}">{"".join(parts)}</svg>'
    )
    data = {
        "x": [across.low, across.high, LEFT, WIDTH - RIGHT],
        "name": x,
        "series": [
            {"label": curve.label, "points": [[a, float(f"{b:.4g}")] for a, b in curve.points]}
            for curve in drawn
        ],
    }
    return Chart(title, unit, svg, labels, json.dumps(data), summary)


class Axis(NamedTuple):
    """Map values from `low` to `high` to positions from `start` to `end`, linear or logarithmic."""

    low: float
    high: float
    log: bool
    start: float
    end: float

    @classmethod
    def around(cls, values: Sequence[float], log: bool, start: float, end: float) -> "Axis":
        """An axis for the range of `values`; constant values lie in its middle."""
        low, high = min(values), max(values)
        if log:
            # The axis spans at least a factor of four, so constant values are in its middle.
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
        """The values of the tick marks: at most eight round numbers."""
        if self.log:
            narrow = self.high < 100 * self.low
            locator: Locator = LogLocator(subs=(1, 2, 5) if narrow else (1,), numticks=6)
        else:
            locator = MaxNLocator(5, steps=[1, 2, 5, 10])
        first, last = sorted((self.start, self.end))
        values = locator.tick_values(self.low, self.high)  # may extend beyond the axis
        return [float(value) for value in values if first <= self.place(value) <= last]


def number(value: float | None) -> str:
    """Format a number briefly, with about four digits; a dash for None, NaN and infinity."""
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
