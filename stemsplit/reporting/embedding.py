"""Embed pictures and audio in the HTML report, as data URIs."""

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

STRIP = 96  # maximum number of columns of a strip
TYPES = {".png": "image/png", ".mp3": "audio/mpeg"}


class Strip(NamedTuple):
    """Root mean squares of one layer over the logged steps, as a strip of colours."""

    layer: str
    picture: str  # a data URI
    first: float  # value at the first logged step
    last: float  # value at the last logged step


def strips(layers: dict[str, list[Point]]) -> list[Strip]:
    """One strip per layer, all with the same logarithmic scale. Large values are bright.

    Zero, for instance the gradient of a frozen layer, has the colour of the smallest positive
    value. NaN and infinity are red.
    """
    values = [b for points in layers.values() for _, b in points if math.isfinite(b) and b > 0]
    if not values:
        return []
    smallest = min(values)
    low, high = math.log(smallest), math.log(max(values))
    result = []
    for layer, points in layers.items():
        columns = [
            points[i] for i in np.linspace(0, len(points) - 1, min(STRIP, len(points))).astype(int)
        ]
        row = [math.log(max(b, smallest)) if math.isfinite(b) else math.nan for _, b in columns]
        colours = matplotlib.colormaps["viridis"].with_extremes(bad="red")
        share = (np.array([row]) - low) / max(high - low, 1e-9)
        file = io.BytesIO()
        imsave(file, colours(np.ma.masked_invalid(share)), format="png")
        uri = data_uri(file.getvalue(), TYPES[".png"])
        result.append(Strip(layer, uri, points[0][1], points[-1][1]))
    return result


def embedded(path: Path) -> str:
    """A PNG or MP3 file as a data URI; raises `InputError` for other files."""
    if path.suffix not in TYPES:
        raise InputError(f"{path}: a report can embed {' and '.join(TYPES)} files only")
    return data_uri(path.read_bytes(), TYPES[path.suffix])


def data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
