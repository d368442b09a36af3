"""Summarise the scores of songs: medians with intervals, paired differences, spread over seeds."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from stemsplit.evaluation.intervals import (
    Difference,
    median_interval,
    paired_difference,
    weighted_interval,
)
from stemsplit.evaluation.scores import METRICS, SongScores, median_of_frames

WEIGHTED = {"NSDR": "GNSDR", "SIR (v3)": "GSIR", "SAR (v3)": "GSAR"}
GAIN = "SDR gain"  # over the mixture


class Score(NamedTuple):
    """One figure of a table, its 95 % interval, and the numbers of frames and songs behind it.

    `statistic` is ``median`` (of songs, and before that of their frames) or ``mean`` (weighted by
    the songs' lengths). None where there is nothing to take it of.
    """

    value: float | None
    low: float | None
    high: float | None
    statistic: str
    songs: int  # that have it
    frames: int | None  # that have it; None for figures of whole songs

    def facts(self) -> dict[str, Any]:
        """The figure as a result file stores it."""
        interval = {self.statistic: self.value, "low": self.low, "high": self.high}
        frames = {} if self.frames is None else {"frames": self.frames}
        return interval | {"songs": self.songs} | frames


@dataclass(frozen=True)
class Row:
    """One system. `scores` by stem and metric; `songs` and `frames` that there are.

    BSS Eval's are medians of frames, then of songs, and so is the gain of SDR over the mixture,
    taken on the frames that both have; whole songs' figures are medians of songs; the global ones
    of mono corpora (GNSDR, GSIR, GSAR) are means weighted by the songs' lengths. Minus infinity
    counts among the figures of whole songs; infinity and NaN do not.
    """

    scores: dict[str, dict[str, Score]]
    songs: int
    frames: int
    dropped: dict[str, int]
    notes: dict[str, int]


class Spread(NamedTuple):
    """Statistics over several trainings of one model."""

    mean: float
    deviation: float | None  # of a sample; None where a training has minus infinity
    trainings: int


Rows = Mapping[str, Row]  # by system
Differences = Mapping[str, Mapping[str, Mapping[str, Difference]]]  # by "A - B", stem and metric
Spreads = Mapping[str, Mapping[str, Mapping[str, Spread]]]  # by model, stem and metric


def rows_of(songs: Mapping[str, Sequence[SongScores]], mixture: str) -> Rows:
    """One row a system; gains are relative to the system named `mixture`."""
    return {name: row_of(scores, songs[mixture]) for name, scores in songs.items()}


def row_of(songs: Sequence[SongScores], mixture: Sequence[SongScores]) -> Row:
    stems = list(dict.fromkeys(stem for song in songs for stem in song.frames))
    gains = compare(songs, mixture)
    scores = {
        stem: {metric: _of_frames(songs, stem, metric) for metric in METRICS}
        | {GAIN: _gain(gains[stem]["SDR"])}
        | _whole(songs, stem)
        for stem in stems
    }
    dropped: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    most: dict[str, int] = {}
    for song in songs:
        dropped.update(song.dropped)
        notes.update(song.notes.keys())
        for note, samples in song.notes.items():
            most[note] = max(samples, most.get(note, 0))
    frames = sum(song.frame_count for song in songs)
    return Row(scores, len(songs), frames, dict(dropped), _with_amounts(notes, most))


def _with_amounts(notes: Mapping[str, int], most: Mapping[str, int]) -> dict[str, int]:
    return {
        f"{note} (at most {most[note]} samples)" if most[note] else note: songs
        for note, songs in notes.items()
    }


def _of_frames(songs: Sequence[SongScores], stem: str, metric: str) -> Score:
    medians = [median_of_frames(song.frames[stem][metric]) for song in songs if stem in song.frames]
    frames = sum(song.frames_scored(stem, metric) for song in songs)
    return Score(*median_interval(medians), "median", int(np.isfinite(medians).sum()), frames)


def _gain(found: Difference) -> Score:
    return Score(*found.interval, "median", found.songs, found.frames)


def _whole(songs: Sequence[SongScores], stem: str) -> dict[str, Score]:
    figures = list(dict.fromkeys(name for song in songs for name in song.whole.get(stem, {})))
    found = {}
    for figure in figures:
        values = np.array([song.whole.get(stem, {}).get(figure, np.nan) for song in songs])
        # Minus infinity is the worst score; a perfect estimate has no finite one and is left out.
        present = values < np.inf
        count = int(present.sum())
        if figure in WEIGHTED:
            seconds = np.array([song.seconds for song in songs])
            mean = weighted_interval(values[present], seconds[present])
            found[WEIGHTED[figure]] = Score(*mean, "mean", count, None)
        else:
            median = median_interval(values[present].tolist())
            found[figure] = Score(*median, "median", count, None)
    return found


def compare(
    songs: Sequence[SongScores], others: Sequence[SongScores]
) -> dict[str, dict[str, Difference]]:
    """The difference of two systems, by stem and metric, on the frames that both have.

    Of each song the median over those frames of either; then, over the songs that both have, of
    the differences.
    """
    by_name = {song.track: song for song in others}
    pairs = [(song, by_name[song.track]) for song in songs if song.track in by_name]
    stems = [stem for stem in songs[0].frames if all(stem in other.frames for _, other in pairs)]
    return {
        stem: {metric: _difference(pairs, stem, metric) for metric in METRICS} for stem in stems
    }


def _difference(
    pairs: Sequence[tuple[SongScores, SongScores]], stem: str, metric: str
) -> Difference:
    differences = []
    frames = 0
    for song, other in pairs:
        values = np.array([song.frames[stem][metric], other.frames[stem][metric]])
        common = values[:, np.isfinite(values).all(axis=0)]
        frames += common.shape[1]
        if common.size:
            differences.append(float(np.subtract(*np.median(common, axis=1))))
    return paired_difference(differences, frames)


def spread(rows: Sequence[Row]) -> dict[str, dict[str, Spread]]:
    """Mean and standard deviation over trainings of one model, by stem and metric."""
    found: dict[str, dict[str, Spread]] = {}
    for stem, metrics in rows[0].scores.items():
        found[stem] = {}
        for metric in metrics:
            values = [v for row in rows if (v := row.scores[stem][metric].value) is not None]
            if len(values) > 1:
                mean = float(np.mean(values))
                deviation = float(np.std(values, ddof=1)) if np.isfinite(mean) else None
                found[stem][metric] = Spread(mean, deviation, len(values))
    return found
