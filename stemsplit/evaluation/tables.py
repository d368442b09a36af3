"""Songs' scores drawn together: medians with intervals, paired differences, means over seeds."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from stemsplit.evaluation.intervals import Difference, Interval, median_interval, paired_difference
from stemsplit.evaluation.scores import METRICS, SongScores, median_of_frames

WEIGHTED = {"NSDR": "GNSDR", "SIR (v3)": "GSIR", "SAR (v3)": "GSAR"}


@dataclass(frozen=True)
class Row:
    """One system. `scores` by stem and metric; `frames` that were scored, of `of` that there are.

    BSS Eval's are medians of frames, then of songs; whole songs' figures are medians of songs; the
    global ones of mono corpora (GNSDR, GSIR, GSAR) are means weighted by the songs' lengths.
    """

    scores: dict[str, dict[str, Interval]]
    songs: int
    frames: int
    of: int
    dropped: dict[str, int]
    notes: dict[str, int]


Rows = dict[str, Row]  # by system


class Spread(NamedTuple):
    """Over several trainings of one model."""

    mean: float
    deviation: float  # of a sample; of one training it would be 0
    seeds: int


def row_of(songs: Sequence[SongScores]) -> Row:
    stems = list(dict.fromkeys(stem for song in songs for stem in song.frames))
    scores = {
        stem: {
            metric: median_interval(
                [
                    median_of_frames(song.frames[stem][metric])
                    for song in songs
                    if stem in song.frames
                ]
            )
            for metric in METRICS
        }
        | _whole(songs, stem)
        for stem in stems
    }
    dropped: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    for song in songs:
        dropped.update(song.dropped)
        # "vocals: the estimate is 12 samples longer …": one kind, whatever the number.
        notes.update(
            {"".join(c for c in note if not c.isdigit()).replace("  ", " ") for note in song.notes}
        )
    return Row(
        scores,
        len(songs),
        sum(song.frames_scored for song in songs),
        sum(song.frame_count for song in songs),
        dict(dropped),
        dict(notes),
    )


def _whole(songs: Sequence[SongScores], stem: str) -> dict[str, Interval]:
    figures = list(dict.fromkeys(name for song in songs for name in song.whole.get(stem, {})))
    found = {}
    for figure in figures:
        values = np.array([song.whole.get(stem, {}).get(figure, np.nan) for song in songs])
        if figure in WEIGHTED:
            found[WEIGHTED[figure]] = weighted_interval(values, [song.seconds for song in songs])
        else:
            found[figure] = median_interval(values.tolist())
    return found


def weighted_interval(values: np.ndarray, seconds: Sequence[float]) -> Interval:
    """A mean weighted by length, with its bootstrap interval over songs; NaN and ∞ left out."""
    present = np.isfinite(values)
    values, weights = values[present], np.array(seconds)[present]
    if not len(values):
        return Interval(None, None, None)
    mean = float(np.average(values, weights=weights))
    if len(values) == 1:
        return Interval(mean, None, None)
    draws = np.random.default_rng(0).integers(len(values), size=(2_000, len(values)))
    means = (values[draws] * weights[draws]).sum(axis=1) / weights[draws].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(mean, float(low), float(high))


def compare(
    songs: Sequence[SongScores], others: Sequence[SongScores]
) -> dict[str, dict[str, Difference]]:
    """One system less another, by stem and metric, on the frames that both have.

    Of each song the median over those frames of either; then, over the songs that both have, of
    the differences.
    """
    by_name = {song.track: song for song in others}
    pairs = [(song, by_name[song.track]) for song in songs if song.track in by_name]
    stems = [stem for stem in songs[0].frames if all(stem in other.frames for _, other in pairs)]
    return {
        stem: {
            metric: paired_difference(
                [_difference(a.frames[stem][metric], b.frames[stem][metric]) for a, b in pairs]
            )
            for metric in METRICS
        }
        for stem in stems
    }


def _difference(values: Sequence[float], others: Sequence[float]) -> float:
    pair = np.array([values, others])
    common = pair[:, np.isfinite(pair).all(axis=0)]
    return float(np.subtract(*np.median(common, axis=1))) if common.size else float("nan")


def spread(rows: Sequence[Row]) -> dict[str, dict[str, Spread]]:
    """Mean and deviation over the rows of one model's several trainings, by stem and metric."""
    return {
        stem: {
            metric: Spread(float(np.mean(medians)), float(np.std(medians, ddof=1)), len(medians))
            for metric in metrics
            if len(
                medians := [m for row in rows if (m := row.scores[stem][metric].median) is not None]
            )
            > 1
        }
        for stem, metrics in rows[0].scores.items()
    }


def gain(row: Row, base: Row, stem: str) -> float | None:
    """How many dB of SDR a row lies above another one."""
    median, other = row.scores[stem]["SDR"].median, base.scores[stem]["SDR"].median
    return None if median is None or other is None else median - other
