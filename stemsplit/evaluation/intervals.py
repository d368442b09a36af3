"""Confidence intervals of a median over songs, and of the difference between two systems."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import kendalltau, wilcoxon

RESAMPLES = 10_000
# With fewer songs, the bootstrap interval is the range from the lowest to the highest song. It
# contains the true median with a probability below 95 %. With two songs, the probability is 50 %.
FEW_SONGS = 6


class Interval(NamedTuple):
    """A median or mean, and the ends of its 95 % confidence interval.

    A number that is undefined is None.
    """

    value: float | None
    low: float | None
    high: float | None


class Difference(NamedTuple):
    """Paired difference between two systems over songs.

    `interval` contains the median difference and the ends of its confidence interval. `p` is the
    two-sided p-value of the Wilcoxon signed-rank test. `songs` and `frames` count the songs and
    the frames of BSS Eval (of 1 s by default) in which both systems have a score. With one song,
    both ends and `p` are None; without songs, the median is None too. `p` is also None if all
    differences are 0.
    """

    interval: Interval
    p: float | None
    songs: int
    frames: int

    def facts(self) -> dict[str, float | int | None]:
        """The difference in the format of result files."""
        median, low, high = self.interval
        counts = {"songs": self.songs, "frames": self.frames}
        return {"median": median, "low": low, "high": high, "p": self.p} | counts


class RankCorrelation(NamedTuple):
    """Kendall's tau-b of two rankings, its 95 % interval and p-value.

    All are None if all values of one ranking are equal.
    """

    tau: float | None
    low: float | None
    high: float | None
    p: float | None


def median_interval(values: Sequence[float]) -> Interval:
    """Median over songs, ignoring NaN, with its percentile bootstrap interval (Efron 1979).

    One song has a median but no interval. With fewer than `FEW_SONGS` songs, the bootstrap
    interval is always the range from the lowest to the highest song.
    """
    present = np.array([value for value in values if not np.isnan(value)])
    if not len(present):
        return Interval(None, None, None)
    median = float(np.median(present))
    if len(present) == 1:
        return Interval(median, None, None)
    draws = np.random.default_rng(0).choice(present, (RESAMPLES, len(present)))
    return Interval(median, *central_range(np.median(draws, axis=1)))


def weighted_interval(
    values: Float[np.ndarray, " song"], weights: Float[np.ndarray, " song"]
) -> Interval:
    """Mean over songs, weighted by `weights`, with its percentile bootstrap interval.

    One song has a mean but no interval; without songs all three values are None.
    """
    if not len(values):
        return Interval(None, None, None)
    mean = float(np.average(values, weights=weights))
    if len(values) == 1:
        return Interval(mean, None, None)
    draws = np.random.default_rng(0).integers(len(values), size=(2_000, len(values)))
    means = (values[draws] * weights[draws]).sum(axis=1) / weights[draws].sum(axis=1)
    return Interval(mean, *central_range(means))


def central_range(draws: Float[np.ndarray, " draw"]) -> tuple[float, float]:
    """Return the two draws between which the central 95 % of the draws lie.

    The ends must be draws, because some draws may be minus infinity. `scipy.stats.bootstrap` fails
    for such draws, because it interpolates.
    """
    low, high = np.quantile(draws, [0.025, 0.975], method="inverted_cdf")
    return float(low), float(high)


def paired_difference(differences: Sequence[float], frames: int) -> Difference:
    """Summarise the differences between two systems' scores, one difference per song.

    `frames` is the number of frames in which both systems have a score, over all songs. The
    interval is usually narrower than the separate intervals of the two systems, because a hard song
    is usually hard for both.
    """
    testable = len(differences) > 1 and any(differences)
    p = float(wilcoxon(differences).pvalue) if testable else None
    return Difference(median_interval(differences), p, len(differences), frames)


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> RankCorrelation:
    """Kendall's tau-b of two measurements of the same items: 1 for equal, -1 for reversed ranks.

    M. G. Kendall, "The treatment of ties in ranking problems", Biometrika 33(3), 1945. For each
    possible true tau, `sampling_ranges` simulates many measurements and takes the central 95 % of
    their taus. The interval consists of the true taus whose range contains the tau of the two
    given measurements. The simulation assumes a Gaussian copula.

    A bootstrap interval would have no width if both measurements rank all items in the same order,
    because tau is then 1 in every resample. With only a few items, this often happens.
    """
    test = kendalltau(first, second)
    if np.isnan(test.statistic):
        return RankCorrelation(None, None, None, None)
    tau = float(test.statistic)
    taus, lowest, highest = sampling_ranges(len(first))
    tolerance = 1e-9  # rounding errors of tau
    low = taus[np.argmax(highest >= tau - tolerance)]
    high = taus[::-1][np.argmax(lowest[::-1] <= tau + tolerance)]
    return RankCorrelation(tau, float(low), float(high), float(test.pvalue))


@cache
def sampling_ranges(
    count: int,
) -> tuple[Float[np.ndarray, " tau"], Float[np.ndarray, " tau"], Float[np.ndarray, " tau"]]:
    """Return a grid of true taus, and two limits for each of them.

    The central 95 % of the taus that are measured on `count` random items lie between the limits.

    The items come from a Gaussian copula with the correlation rho. The true tau is then
    2 / pi * arcsin(rho): W. H. Kruskal, "Ordinal measures of association", JASA 53(284), 1958.
    """
    taus = np.linspace(-1, 1, 201)
    random = np.random.default_rng(0)
    signal, noise = random.standard_normal((2, RESAMPLES // 4, count))
    # Each noise sample is used with both signs, so that the limits for -tau mirror the limits for
    # tau.
    signal, noise = np.concatenate([signal, signal]), np.concatenate([noise, -noise])
    first, second = np.triu_indices(count, 1)
    order = np.sign(signal[:, first] - signal[:, second])
    ranges = []
    for rho in np.sin(taus * np.pi / 2):
        correlated = rho * signal + np.sqrt(max(0.0, 1 - rho**2)) * noise
        concordant = order * np.sign(correlated[:, first] - correlated[:, second])
        ranges.append(np.quantile(concordant.mean(axis=1), [0.025, 0.975]))
    lowest, highest = np.transpose(ranges)
    return taus, lowest, highest
