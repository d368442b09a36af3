"""Songs drawn together: medians, what was left out, differences and spreads."""

import csv
from pathlib import Path

import numpy as np
import pytest

from stemsplit.evaluation.intervals import paired_difference
from stemsplit.evaluation.protocol import Protocol
from stemsplit.evaluation.scores import METRICS, SongScores
from stemsplit.evaluation.tables import compare, gain, row_of, spread, weighted_interval
from stemsplit.reporting.score_tables import (
    print_differences,
    print_scores,
    print_spreads,
    print_whole_songs,
    write_csv,
    write_latex,
)

NAN = float("nan")
PROTOCOL = Protocol("corpus", "test", ("vocals", "accompaniment"), 44100, 2)


def song(
    number: int,
    values: list[float],
    seconds: float = 4.0,
    nsdr: float | None = None,
    **facts: object,
) -> SongScores:
    """With the same scores for both stems and all metrics."""
    frames = {stem: dict.fromkeys(METRICS, values) for stem in PROTOCOL.stems}
    figures = {"SI-SDR": values[0]} | ({} if nsdr is None else {"NSDR": nsdr})
    whole = dict.fromkeys(PROTOCOL.stems, figures)
    return SongScores(f"song {number}", seconds, frames, whole, **facts)


SONGS = [
    song(0, [1, 2, NAN, 9], dropped={"vocals: reference is silent": 1}),
    song(1, [4, 4, 4, np.inf]),
    song(2, [NAN] * 4, notes=["vocals: the estimate is 12 samples shorter: silence is added"]),
    song(3, [6, 7, 8, 9], notes=["vocals: the estimate is 7 samples shorter: silence is added"]),
]


def test_a_row_is_the_median_of_songs_medians() -> None:
    row = row_of(SONGS)
    assert row.scores["vocals"]["SDR"].median == 4  # of 2, 4 and 7.5
    assert (row.songs, row.frames, row.of) == (4, 11, 16)
    assert row.dropped == {"vocals: reference is silent": 1}
    assert row.notes == {"vocals: the estimate is samples shorter: silence is added": 2}


def test_global_figures_are_weighted_by_length() -> None:
    songs = [song(0, [1], 1.0, nsdr=2.0), song(1, [1], 3.0, nsdr=6.0), song(2, [1], 9.0, nsdr=NAN)]
    found = row_of(songs).scores["vocals"]
    assert found["GNSDR"].median == pytest.approx(5.0)
    assert found["GNSDR"].low == pytest.approx(2.0)
    assert found["GNSDR"].high == pytest.approx(6.0)
    assert "NSDR" not in found
    assert weighted_interval(np.array([NAN]), [1.0]) == (None, None, None)


def test_systems_are_compared_on_the_frames_that_both_have() -> None:
    ours = [song(0, [5, NAN, 7, 9]), song(1, [3, 3, 3]), song(2, [8])]
    theirs = [song(0, [1, 100, 2, NAN]), song(1, [2, 2, 2])]
    found = compare(ours, theirs)["vocals"]["SDR"]
    assert found.songs == 2
    # Frames 0 and 2 of the first song: 6 against 1.5.
    assert found.interval.median == pytest.approx((4.5 + 1.0) / 2)


def test_a_difference_has_an_interval_and_a_test() -> None:
    random = np.random.default_rng(0)
    better = paired_difference((0.5 + 0.2 * random.standard_normal(50)).tolist())
    assert better.interval.low > 0.4
    assert better.p < 1e-6
    same = paired_difference((0.2 * random.standard_normal(50)).tolist())
    assert same.interval.low < 0 < same.interval.high
    assert same.p > 0.01
    assert paired_difference([0.0, 0.0]).p is None
    assert paired_difference([NAN]).songs == 0


def test_several_trainings_of_a_model() -> None:
    rows = [row_of([song(0, [value])]) for value in (1.0, 2.0, 6.0)]
    found = spread(rows)["vocals"]["SDR"]
    assert (found.mean, found.seeds) == (3.0, 3)
    assert found.deviation == pytest.approx(np.std([1, 2, 6], ddof=1))
    assert spread(rows[:1])["vocals"] == {}


def test_the_gain_is_above_another_row() -> None:
    base, row = row_of([song(0, [1.0])]), row_of([song(0, [4.5])])
    assert gain(row, base, "vocals") == 3.5
    assert gain(row_of([song(0, [NAN])]), base, "vocals") is None


def test_tables_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = {"mixture": row_of(SONGS), "a_model": row_of(SONGS[:2]), "nothing": row_of(SONGS[2:3])}
    print_scores(rows, PROTOCOL, "title")
    print_whole_songs(rows)
    print_differences({"b - a": compare(SONGS, SONGS[:2])})
    print_spreads({"a_model": spread([rows["mixture"], rows["a_model"]])})
    shown = capsys.readouterr().out
    assert "corpus test, vocals and accompaniment" in shown
    assert "11 of 16 frames of 4 songs scored; vocals: reference is silent: 1 frames" in shown
    write_csv(tmp_path / "scores.csv", rows, PROTOCOL)
    with (tmp_path / "scores.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    [line] = [
        line
        for line in lines
        if (line["system"], line["stem"], line["metric"]) == ("a_model", "vocals", "SDR")
    ]
    assert float(line["median"]) == 3.0
    assert line["protocol"] == str(PROTOCOL)
    write_latex(tmp_path / "scores.tex", rows, PROTOCOL)
    text = (tmp_path / "scores.tex").read_text()
    assert r"a\_model & vocals & 3.00 [2.0, 4.0]" in text
    assert text.count(r"\\") == 7
    assert "nothing & vocals & -- & --" in text
