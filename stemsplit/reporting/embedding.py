"""Pictures and sounds inside the HTML report, as data URIs."""

import base64
import io
import math
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.image import imsave

from stemsplit.errors import InputError
from stemsplit.reporting.charts import Point

STRIP = 96  # columns of a layer's strip
TYPES = {".png": "image/png", ".mp3": "audio/mpeg"}


class Strip(NamedTuple):
    """The sizes of one layer from the first logged step to the last."""

    layer: str
    picture: str  # a data URI
    first: float
    last: float


def strips(layers: dict[str, list[Point]]) -> list[Strip]:
    """A strip for every layer: dark is small, bright is large; all strips have one scale.

    A zero (the gradient of a frozen layer) is as dark as the smallest size; NaN is red.
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
    """A PNG or MP3 file as a data URI."""
    if path.suffix not in TYPES:
        raise InputError(f"{path}: a page holds {' and '.join(TYPES)}, not {path.suffix or 'this'}")
    return data_uri(path.read_bytes(), TYPES[path.suffix])


def data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
