"""Charts of the HTML report: ticks, numbers, and points that cannot be drawn."""

import json

import numpy as np
import pytest

from stemsplit.reporting.charts import Axis, Series, line_chart, number


def test_ticks_are_round_numbers() -> None:
    assert Axis.around([0, 10], False, 0, 1).ticks() == [0, 2, 4, 6, 8, 10]
    assert Axis.around([-1.3, 0.2], False, 0, 1).ticks() == [-1, -0.5, 0]
    assert Axis.around([1e-4, 3e-1], True, 0, 1).ticks() == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])
    for values in ([5.0], [1e-3, 1e-3], [7.0, 8.0]):
        for log in (False, True):
            axis = Axis.around(values, log, 0, 100)
            ticks = axis.ticks()
            assert 1 <= len(ticks) <= 7
            assert all(0 <= axis.place(tick) <= 100 for tick in ticks)


def test_numbers_are_short() -> None:
    shown = {
        0.0: "0",
        12.3456: "12.35",
        -1.5: "−1.5",
        1e-4: "1e−4",
        123456.0: "1.2e5",
        1000.0: "1000",
    }
    assert {value: number(value) for value in shown} == shown
    assert number(None) == number(float("nan")) == "–"


def test_charts_leave_out_undrawable_points() -> None:
    assert line_chart("title", "dB", [Series("a", [(0, np.nan)])]) is None
    chart = line_chart(
        "t", "", [Series("a", []), Series("b", [(0, 1.0), (1, -1.0), (2, 4.0)])], log=True
    )
    assert chart.labels == [("b", 2)]
    assert json.loads(chart.data)["series"] == [{"label": "b", "points": [[0, 1.0], [2, 4.0]]}]
