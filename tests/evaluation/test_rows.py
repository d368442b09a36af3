"""Tables of scores: medians, counts, notes, differences, spreads, and their files."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stemsplit.evaluation.intervals import paired_difference, weighted_interval
from stemsplit.evaluation.protocol import Protocol
from stemsplit.evaluation.rows import GAIN, compare, row_of, rows_of, spread
from stemsplit.evaluation.scores import METRICS, SongScores
from stemsplit.reporting.score_exports import (
    write_csv,
    write_differences_csv,
    write_latex,
    write_spreads_csv,
)
from stemsplit.reporting.score_tables import (
    print_differences,
    print_scores,
    print_spreads,
    print_whole_songs,
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
    """A song with the same frames for both stems and all metrics."""
    frames = {stem: dict.fromkeys(METRICS, values) for stem in PROTOCOL.stems}
    figures = {"SI-SDR": values[0]} | ({} if nsdr is None else {"NSDR": nsdr})
    whole = dict.fromkeys(PROTOCOL.stems, figures)
    return SongScores(f"song {number}", seconds, frames, whole, **facts)


SONGS = [
    song(0, [1, 2, NAN, 9], dropped={"vocals: reference is silent": 1}),
    song(1, [4, 4, 4, np.inf]),
    song(
        2,
        [NAN] * 4,
        notes={"guitar1: the estimate is shorter than the reference: padded with silence": 12},
    ),
    song(
        3,
        [6, 7, 8, 9],
        notes={"guitar1: the estimate is shorter than the reference: padded with silence": 7},
    ),
]


def test_song_metric_of_minus_infinity_counts_but_infinity_does_not() -> None:
    songs = [
        replace(each, whole={"vocals": {"SI-SDR": value}, "accompaniment": {}})
        for each, value in zip(SONGS[:3], (-np.inf, 5.0, np.inf), strict=True)
    ]
    score = row_of(songs, songs).scores["vocals"]["SI-SDR"]
    assert (score.value, score.low, score.high, score.songs) == (-np.inf, -np.inf, 5.0, 2)
    rows = [row_of(group, group) for group in (songs[:1], songs[1:2])]
    assert spread(rows)["vocals"]["SI-SDR"] == (-np.inf, None, 2)


def test_row_is_median_of_song_medians() -> None:
    row = row_of(SONGS, SONGS)
    sdr = row.scores["vocals"]["SDR"]
    assert sdr.value == 4  # of 2, 4 and 7.5
    assert (row.songs, row.frames) == (4, 16)
    assert (sdr.songs, sdr.frames) == (3, 10)
    assert row.scores["vocals"]["SI-SDR"].songs == 3
    assert row.dropped == {"vocals: reference is silent": 1}
    note = "guitar1: the estimate is shorter than the reference: padded with silence"
    assert row.notes == {f"{note} (at most 12 samples)": 2}


def test_counts_differ_by_score() -> None:
    frames = {
        "vocals": {metric: [NAN, NAN, NAN] for metric in METRICS},
        "accompaniment": {
            metric: [1.0, 2.0, 3.0 if metric == "SAR" else np.inf] for metric in METRICS
        },
    }
    only_accompaniment = SongScores("song 1", 3.0, frames, {stem: {} for stem in PROTOCOL.stems})
    both = song(0, [1.0, 2.0, 3.0])
    row = row_of([both, only_accompaniment], [both, only_accompaniment])
    result = {
        (stem, metric): (row.scores[stem][metric].songs, row.scores[stem][metric].frames)
        for stem in PROTOCOL.stems
        for metric in ("SDR", "SAR")
    }
    assert result == {
        ("vocals", "SDR"): (1, 3),
        ("vocals", "SAR"): (1, 3),
        ("accompaniment", "SDR"): (2, 5),
        ("accompaniment", "SAR"): (2, 6),
    }


def test_tables_show_counts_of_scores_with_fewer_songs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A silent estimate has an SDR but no SIR."""
    songs = [song(number, [1.0, 2.0]) for number in range(3)]
    frames = {stem: dict(metrics) for stem, metrics in songs[0].frames.items()}
    frames["vocals"]["SIR"] = [NAN, NAN]
    silent = SongScores("song 0", 4.0, frames, {"vocals": {}, "accompaniment": {}})
    rows = rows_of({"mixture": songs, "it": [silent, *songs[1:]]}, "mixture")
    print_scores(rows, PROTOCOL, "title")
    print_whole_songs(rows)
    shown = capsys.readouterr().out
    assert shown.count("1.50 (2)") == 1  # SIR
    assert shown.count("1.00 (2)") == 2  # SI-SDR of both stems
    assert "fewer than 6 songs: each interval is the range over the songs" in shown
    write_latex(tmp_path / "scores.tex", rows, {}, {}, PROTOCOL)
    assert (tmp_path / "scores.tex").read_text().count("1.50 (2) [1.5, 1.5]") == 1


def test_global_metrics_are_weighted_by_length() -> None:
    songs = [song(0, [1], 1.0, nsdr=2.0), song(1, [1], 3.0, nsdr=6.0), song(2, [1], 9.0, nsdr=NAN)]
    result = row_of(songs, songs).scores["vocals"]
    assert result["GNSDR"].value == pytest.approx(5.0)
    assert (result["GNSDR"].statistic, result["GNSDR"].songs) == ("mean", 2)
    assert result["GNSDR"].facts().keys() == {"mean", "low", "high", "songs"}
    assert result["GNSDR"].low == pytest.approx(2.0)
    assert result["GNSDR"].high == pytest.approx(6.0)
    assert "NSDR" not in result
    assert weighted_interval(np.zeros(0), np.zeros(0)) == (None, None, None)


def test_difference_uses_frames_that_both_systems_have() -> None:
    ours = [song(0, [5, NAN, 7, 9]), song(1, [3, 3, 3]), song(2, [8])]
    theirs = [song(0, [1, 100, 2, NAN]), song(1, [2, 2, 2])]
    result = compare(ours, theirs)["vocals"]["SDR"]
    assert (result.songs, result.frames) == (2, 5)
    # Frames 0 and 2 of the first song: 6 against 1.5.
    assert result.interval.value == pytest.approx((4.5 + 1.0) / 2)


def test_paired_difference_has_interval_and_p_value() -> None:
    random = np.random.default_rng(0)
    better = paired_difference((0.5 + 0.2 * random.standard_normal(50)).tolist(), 50)
    assert better.interval.low > 0.4
    assert better.p < 1e-6
    same = paired_difference((0.2 * random.standard_normal(50)).tolist(), 50)
    assert same.interval.low < 0 < same.interval.high
    assert same.p > 0.01
    assert paired_difference([0.0, 0.0], 2).p is None
    assert paired_difference([], 0).facts()["median"] is None


def test_spread_over_trainings() -> None:
    rows = [row_of([song(0, [value])], [song(0, [0.0])]) for value in (1.0, 2.0, 6.0)]
    result = spread(rows)["vocals"]["SDR"]
    assert (result.mean, result.trainings) == (3.0, 3)
    assert result.deviation == pytest.approx(np.std([1, 2, 6], ddof=1))
    assert spread(rows[:1])["vocals"] == {}


def test_sdr_gain_is_paired_by_song_and_frame() -> None:
    mixture = [song(0, [1.0, 2.0, 3.0]), song(1, [-4.0]), song(2, [np.inf])]
    # The third song has no finite SDR of the mixture.
    rows = rows_of(
        {"mixture": mixture, "it": [song(0, [NAN, 8.0, 5.0]), song(1, [6.0]), song(2, [7.0])]},
        "mixture",
    )
    gain = rows["it"].scores["vocals"][GAIN]
    assert gain.value == pytest.approx((4.0 + 10.0) / 2)
    assert (gain.songs, gain.frames) == (2, 3)
    assert gain.low == 4.0
    assert rows["mixture"].scores["vocals"][GAIN].value == 0


def test_tables_in_all_formats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = rows_of({"mixture": SONGS, "a_model": SONGS[:2], "nothing": SONGS[2:3]}, "mixture")
    differences = {"b - a": compare(SONGS, SONGS[:2])}
    spreads = {"a_model": spread([rows["mixture"], rows["a_model"]])}
    print_scores(rows, PROTOCOL, "title")
    print_whole_songs(rows)
    print_differences(differences)
    print_spreads(spreads)
    shown = capsys.readouterr().out
    assert "corpus test, vocals and accompaniment" in shown
    assert "10/16" in shown
    left_out = "1 frame left out (vocals: reference is silent); guitar1: the estimate is shorter"
    assert f"mixture: {left_out}" in shown
    write_csv(tmp_path / "scores.csv", rows, PROTOCOL)
    [line] = [
        line
        for line in lines_of(tmp_path / "scores.csv")
        if (line["system"], line["stem"], line["metric"]) == ("mixture", "vocals", "SDR")
    ]
    assert float(line["value"]) == 4.0
    assert line["statistic"] == "median"
    assert (line["songs"], line["songs_of"]) == ("3", "4")
    assert (line["frames"], line["frames_of"]) == ("10", "16")
    assert line["left_out"].startswith(left_out)
    assert line["protocol"] == str(PROTOCOL)
    write_differences_csv(tmp_path / "differences.csv", differences, PROTOCOL)
    line = lines_of(tmp_path / "differences.csv")[0]
    assert (line["systems"], line["metric"], line["songs"]) == ("b - a", "SDR", "2")
    write_spreads_csv(tmp_path / "spreads.csv", spreads, PROTOCOL)
    line = lines_of(tmp_path / "spreads.csv")[0]
    assert (line["model"], float(line["mean"]), line["trainings"]) == ("a_model", 3.5, "2")
    write_latex(tmp_path / "scores.tex", rows, differences, spreads, PROTOCOL)
    text = (tmp_path / "scores.tex").read_text()
    assert r"a\_model & vocals & 3.00 [2.0, 4.0]" in text
    assert "nothing & vocals & -- & --" in text
    assert "% mixture: 1 frame left out (vocals: reference is silent)" in text
    assert "b - a & vocals & 0.00" in text
    assert r"$\pm$" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 3


def lines_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
