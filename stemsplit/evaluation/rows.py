"""Summarise scores: medians over songs, intervals, paired differences, spread over trainings."""

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
    """One cell of a table: a score with its 95 % interval and the number of songs and frames.

    `statistic` is ``median`` or ``mean``; `Row` says which scores are means. `value` is None if no
    song has the score.
    """

    value: float | None
    low: float | None
    high: float | None
    statistic: str
    songs: int  # number of songs that have this score
    frames: int | None  # number of frames that have this score; None for metrics of whole songs

    def facts(self) -> dict[str, Any]:
        """The score in the format of result files."""
        interval = {self.statistic: self.value, "low": self.low, "high": self.high}
        frames = {} if self.frames is None else {"frames": self.frames}
        return interval | {"songs": self.songs} | frames


@dataclass(frozen=True)
class Row:
    """Scores of one system by stem and metric, and the total number of songs and frames.

    BSS Eval scores are medians over frames, then over songs. The SDR gain of a song is the
    difference between the median SDR of the system and of the mixture, over the frames in which
    both have an SDR. The SDR gain in the row is the median over songs. Metrics of whole songs are
    medians over songs; the global metrics of mono corpora (GNSDR, GSIR, GSAR) are means over songs,
    weighted by length. The metrics of whole songs and the global metrics include minus infinity,
    but leave out infinity and NaN; medians over frames use finite values only. `dropped` maps each
    reason to the number of frames without a score; `notes` maps each note to the number of songs.
    See `SongScores`.
    """

    scores: dict[str, dict[str, Score]]
    songs: int
    frames: int
    dropped: dict[str, int]
    notes: dict[str, int]


class Spread(NamedTuple):
    """Mean and sample standard deviation of a score over several trainings of one model."""

    mean: float
    deviation: float | None  # None if the score of a training is minus infinity
    trainings: int


Rows = Mapping[str, Row]  # by system
Differences = Mapping[str, Mapping[str, Mapping[str, Difference]]]  # by "A - B", stem and metric
Spreads = Mapping[str, Mapping[str, Mapping[str, Spread]]]  # by model, stem and metric


def rows_of(songs: Mapping[str, Sequence[SongScores]], mixture: str) -> Rows:
    """One row per system; gains are relative to the system with the name `mixture`."""
    return {name: row_of(scores, songs[mixture]) for name, scores in songs.items()}


def row_of(songs: Sequence[SongScores], mixture: Sequence[SongScores]) -> Row:
    stems = list(dict.fromkeys(stem for song in songs for stem in song.frames))
    gains = compare(songs, mixture)
    scores = {
        stem: {metric: _of_frames(songs, stem, metric) for metric in METRICS}
        | {GAIN: _gain(gains[stem]["SDR"])}
        | _of_songs(songs, stem)
        for stem in stems
    }
    dropped: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    most_samples: dict[str, int] = {}
    for song in songs:
        dropped.update(song.dropped)
        notes.update(song.notes.keys())
        for note, samples in song.notes.items():
            most_samples[note] = max(samples, most_samples.get(note, 0))
    frames = sum(song.frame_count for song in songs)
    return Row(scores, len(songs), frames, dict(dropped), _with_samples(notes, most_samples))


def _with_samples(notes: Mapping[str, int], most_samples: Mapping[str, int]) -> dict[str, int]:
    return {
        f"{note} (at most {most_samples[note]} samples)" if most_samples[note] else note: songs
        for note, songs in notes.items()
    }


def _of_frames(songs: Sequence[SongScores], stem: str, metric: str) -> Score:
    medians = [median_of_frames(song.frames[stem][metric]) for song in songs if stem in song.frames]
    frames = sum(song.frames_scored(stem, metric) for song in songs)
    return Score(*median_interval(medians), "median", int(np.isfinite(medians).sum()), frames)


def _gain(difference: Difference) -> Score:
    return Score(*difference.interval, "median", difference.songs, difference.frames)


def _of_songs(songs: Sequence[SongScores], stem: str) -> dict[str, Score]:
    metrics = list(dict.fromkeys(name for song in songs for name in song.whole.get(stem, {})))
    scores = {}
    for metric in metrics:
        values = np.array([song.whole.get(stem, {}).get(metric, np.nan) for song in songs])
        # Minus infinity counts as the worst score. Infinity (a perfect estimate) is left out, as
        # in museval's medians over frames.
        present = values < np.inf
        count = int(present.sum())
        if metric in WEIGHTED:
            seconds = np.array([song.seconds for song in songs])
            mean = weighted_interval(values[present], seconds[present])
            scores[WEIGHTED[metric]] = Score(*mean, "mean", count, None)
        else:
            median = median_interval(values[present].tolist())
            scores[metric] = Score(*median, "median", count, None)
    return scores


def compare(
    songs: Sequence[SongScores], baseline: Sequence[SongScores]
) -> dict[str, dict[str, Difference]]:
    """Differences between a system and a baseline, by stem and metric.

    The difference for a song is the difference of the two medians over the frames in which both
    systems have scores. The result is the median of these differences over songs, with its
    interval.
    """
    by_name = {song.track: song for song in baseline}
    pairs = [(song, by_name[song.track]) for song in songs if song.track in by_name]
    stems = [stem for stem in songs[0].frames if all(stem in song.frames for _, song in pairs)]
    return {
        stem: {metric: _difference(pairs, stem, metric) for metric in METRICS} for stem in stems
    }


def _difference(
    pairs: Sequence[tuple[SongScores, SongScores]], stem: str, metric: str
) -> Difference:
    differences = []
    frames = 0
    for song, baseline in pairs:
        values = np.array([song.frames[stem][metric], baseline.frames[stem][metric]])
        common = values[:, np.isfinite(values).all(axis=0)]
        frames += common.shape[1]
        if common.size:
            differences.append(float(np.subtract(*np.median(common, axis=1))))
    return paired_difference(differences, frames)


def spread(rows: Sequence[Row]) -> dict[str, dict[str, Spread]]:
    """Mean and standard deviation over trainings of one model, by stem and metric.

    `rows` has one row per training. A score that fewer than two trainings have is left out.
    """
    spreads: dict[str, dict[str, Spread]] = {}
    for stem, metrics in rows[0].scores.items():
        spreads[stem] = {}
        for metric in metrics:
            values = [v for row in rows if (v := row.scores[stem][metric].value) is not None]
            if len(values) > 1:
                mean = float(np.mean(values))
                deviation = float(np.std(values, ddof=1)) if np.isfinite(mean) else None
                spreads[stem][metric] = Spread(mean, deviation, len(values))
    return spreads
