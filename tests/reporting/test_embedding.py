"""Strips of layers in the HTML report."""

import base64
import io

import numpy as np
from PIL import Image

from stemsplit.reporting.embedding import strips


def test_zero_layer_and_nonfinite_layer_have_different_colours() -> None:
    def first_colour(value: float) -> tuple[int, ...]:
        [strip, _] = strips({"a": [(0, value)], "b": [(0, 1.0), (1, 2.0)]})
        picture = base64.b64decode(strip.picture.partition(",")[2])
        with Image.open(io.BytesIO(picture)) as image:
            return image.convert("RGB").getpixel((0, 0))

    assert first_colour(0.0) == first_colour(1.0) != (255, 0, 0)
    assert first_colour(np.inf) == (255, 0, 0)


def test_layers_need_one_positive_value_for_strips() -> None:
    assert [strip.layer for strip in strips({"a": [(0, 1.0), (1, np.inf)], "b": [(0, 0.0)]})] == [
        "a",
        "b",
    ]
    assert strips({"a": [(0, np.nan)]}) == []
