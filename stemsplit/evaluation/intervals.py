"""Confidence intervals of a median over songs, and of the difference between two systems."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import kendalltau, wilcoxon

RESAMPLES = 10_000
FEW = 6  # songs, below which a bootstrap interval is their range: of two it covers half, not 95 %


class Interval(NamedTuple):
    """A median or mean and the ends of its 95 % interval; None where there is nothing to take."""

    value: float | None
    low: float | None
    high: float | None


class Difference(NamedTuple):
    """Of two systems, song by song: the interval of its median, and Wilcoxon's two-sided p.

    `songs` and `frames` count those that both have a score of. Fewer than two songs have no
    interval, and p needs one that differs.
    """

    interval: Interval
    p: float | None
    songs: int
    frames: int

    def facts(self) -> dict[str, float | int | None]:
        """As files of results carry it."""
        median, low, high = self.interval
        counts = {"songs": self.songs, "frames": self.frames}
        return {"median": median, "low": low, "high": high, "p": self.p} | counts


class RankCorrelation(NamedTuple):
    """Kendall's tau-b of two rankings, its 95 % interval and p; None where one has only ties."""

    tau: float | None
    low: float | None
    high: float | None
    p: float | None


def median_interval(values: Sequence[float]) -> Interval:
    """The median over tracks (NaN left out) with its percentile bootstrap interval (Efron 1979).

    One track has a median and no interval; of fewer than `FEW` the interval is their range.
    """
    present = np.array([value for value in values if not np.isnan(value)])
    if not len(present):
        return Interval(None, None, None)
    median = float(np.median(present))
    if len(present) == 1:
        return Interval(median, None, None)
    draws = np.random.default_rng(0).choice(present, (RESAMPLES, len(present)))
    return Interval(median, *ends(np.median(draws, axis=1)))


def weighted_interval(
    values: Float[np.ndarray, " song"], weights: Float[np.ndarray, " song"]
) -> Interval:
    """A mean over songs weighted by their lengths, with its bootstrap interval."""
    if not len(values):
        return Interval(None, None, None)
    mean = float(np.average(values, weights=weights))
    if len(values) == 1:
        return Interval(mean, None, None)
    draws = np.random.default_rng(0).integers(len(values), size=(2_000, len(values)))
    means = (values[draws] * weights[draws]).sum(axis=1) / weights[draws].sum(axis=1)
    return Interval(mean, *ends(means))


def ends(draws: Float[np.ndarray, " draw"]) -> tuple[float, float]:
    """The interval that holds 95 % of the draws.

    Both ends are draws. `scipy.stats.bootstrap` interpolates between draws, which fails where one
    is minus infinity.
    """
    low, high = np.quantile(draws, [0.025, 0.975], method="inverted_cdf")
    return float(low), float(high)


def paired_difference(differences: Sequence[float], frames: int) -> Difference:
    """Of songs' scores by one system less those by another, on so many frames in all.

    Far narrower than two intervals beside each other: both are hard songs' and easy songs' alike.
    """
    differs = len(differences) > 1 and any(differences)
    p = float(wilcoxon(differences).pvalue) if differs else None
    return Difference(median_interval(differences), p, len(differences), frames)


def rank_correlation(values: Sequence[float], others: Sequence[float]) -> RankCorrelation:
    """Whether the same things rank alike twice: 1 where they do, -1 where the order is reversed.

    M. G. Kendall, "The treatment of ties in ranking problems", Biometrika 33(3), 1945. The interval
    holds the taus under which what was found is not among the rarest 2.5 % at either end, if both
    rankings come from a Gaussian copula (a bootstrap's has no width where few things rank alike).
    """
    whole = kendalltau(values, others)
    if np.isnan(whole.statistic):
        return RankCorrelation(None, None, None, None)
    tau = float(whole.statistic)
    taus, least, most = likely_taus(len(values))
    near = 1e-9  # tau of the same ranks, computed in another order
    low = taus[np.argmax(most >= tau - near)]
    high = taus[::-1][np.argmax(least[::-1] <= tau + near)]
    return RankCorrelation(tau, float(low), float(high), float(whole.pvalue))


@cache
def likely_taus(
    count: int,
) -> tuple[Float[np.ndarray, " tau"], Float[np.ndarray, " tau"], Float[np.ndarray, " tau"]]:
    """Taus of a Gaussian copula, and between which 95 % of its samples of `count` things lie.

    Of a correlation rho it is 2 / pi * arcsin(rho): W. H. Kruskal, "Ordinal measures of
    association", JASA 53(284), 1958.
    """
    taus = np.linspace(-1, 1, 201)
    random = np.random.default_rng(0)
    one, noise = random.standard_normal((2, RESAMPLES // 4, count))
    one, noise = np.concatenate([one, one]), np.concatenate([noise, -noise])  # -tau as tau
    first, second = np.triu_indices(count, 1)
    order = np.sign(one[:, first] - one[:, second])
    ends = []
    for rho in np.sin(taus * np.pi / 2):
        other = rho * one + np.sqrt(max(0.0, 1 - rho**2)) * noise
        concordant = order * np.sign(other[:, first] - other[:, second])
        ends.append(np.quantile(concordant.mean(axis=1), [0.025, 0.975]))
    least, most = np.transpose(ends)
    return taus, least, most
