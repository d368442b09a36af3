"""Metrics of a whole song, one value per stem.

All arrays are `(channel, time)`. The metrics are NaN if the reference or the estimate is silent,
except that `challenge_sdr` of a silent estimate is 0 dB. The SI-SDR is infinity for a perfect
estimate and minus infinity for an estimate that is orthogonal to its reference.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from auraloss.freq import MultiResolutionSTFTLoss
from jaxtyping import Float64

from stemsplit.evaluation.bss_eval.bss_eval import bss_eval_sources_systems
from stemsplit.evaluation.matching import Samples, Song

Figures = dict[str, dict[str, float]]  # by stem and name of the metric
SongMetric = Callable[[Samples, Samples], float]  # reference, estimate → score

SONG_METRICS: dict[str, SongMetric] = {}  # by the name in result.json: see `song_metric`
SPECTRAL = "STFT distance"
MONO_FIGURES = ("NSDR", "SIR (v3)", "SAR (v3)")
BLOCK = 2**20  # samples
CHALLENGE_FLOOR = 1e-7  # added to both energies, as in the challenges, for a finite ratio


def song_metric(name: str) -> Callable[[SongMetric], SongMetric]:
    """Return a decorator that adds a metric to `SONG_METRICS`; every evaluation then reports it."""

    def registered(function: SongMetric) -> SongMetric:
        SONG_METRICS[name] = function
        return function

    return registered


@song_metric("SI-SDR")
def si_sdr(reference: Samples, estimate: Samples) -> float:
    """Scale-invariant SDR in dB, with one scale for all channels.

    J. Le Roux et al., "SDR – half-baked or well done?", ICASSP 2019. The score is infinity
    for a scaled copy of the reference and minus infinity for an estimate that is orthogonal to it.
    """
    if not reference.any() or not estimate.any():
        return float("nan")
    cross, energy = (
        sum(float(np.vdot(x, y)) for x, y in blocks(reference, signal))
        for signal in (estimate, reference)
    )
    if cross == 0:
        return -float("inf")
    scale = cross / energy
    error = sum(float(np.square(y - scale * x).sum()) for x, y in blocks(reference, estimate))
    return float(10 * np.log10(scale**2 * energy / error)) if error else float("inf")


@song_metric("SDR of the song")
def challenge_sdr(reference: Samples, estimate: Samples) -> float:
    """The SDR of the Music Demixing Challenge 2021 and the Sound Demixing Challenge 2023, in dB.

    It is the ratio of the energy of the reference to the energy of the error. Both are summed over
    the song and all channels: Y. Mitsufuji et al., "Music Demixing Challenge 2021" (Frontiers in
    Signal Processing 1, 2022).
    """
    if not reference.any():
        return float("nan")
    signal = sum(float(np.square(x).sum()) for x, _ in blocks(reference, estimate))
    error = sum(float(np.square(x - y).sum()) for x, y in blocks(reference, estimate))
    return float(10 * np.log10((signal + CHALLENGE_FLOOR) / (error + CHALLENGE_FLOOR)))


def blocks(*signals: Samples) -> Iterator[list[Float64[np.ndarray, "channel _"]]]:
    """Yield consecutive blocks of all signals in double precision.

    Whole songs in double precision would take much memory.
    """
    for start in range(0, signals[0].shape[1], BLOCK):
        yield [x[:, start : start + BLOCK].astype(np.float64) for x in signals]


def stft_distance(reference: Samples, estimate: Samples) -> float:
    """Multi-resolution STFT distance by auraloss: spectral convergence and log magnitudes.

    R. Yamamoto et al., "Parallel WaveGAN", ICASSP 2020. The distance is 0 for equal signals and
    greater for different signals. It is NaN if the song is shorter than the longest transform.
    """
    silent = not reference.any() or not estimate.any()
    if silent or reference.shape[1] < LONGEST_TRANSFORM:
        return float("nan")
    estimated, true = (
        torch.from_numpy(np.ascontiguousarray(x, np.float32))[None] for x in (estimate, reference)
    )
    with torch.inference_mode():
        return float(DISTANCE(estimated, true))


DISTANCE = MultiResolutionSTFTLoss()
LONGEST_TRANSFORM = max(loss.fft_size for loss in DISTANCE.stft_losses)


def normalised_sdr(references: Song, systems: Sequence[Song], mixture: Samples) -> list[Figures]:
    """NSDR, SIR and SAR of mono stems by BSS Eval v3, in dB, as reported on MIR-1K.

    NSDR is the SDR of the estimate minus the SDR of the mixture: C.-L. Hsu and J.-S. R. Jang, IEEE
    TASLP 18(2), 2010. The averages of the three metrics over clips, weighted by length, are GNSDR,
    GSIR and GSAR. mir_eval refuses a clip with a silent estimate; here only the scores of that
    estimate are NaN. NSDR is also NaN if the SDR of the mixture is not finite, for example if the
    mixture equals the stem.
    """
    unseparated = dict.fromkeys(references, mixture)
    filled = [
        {stem: song[stem] if song[stem].any() else mixture for stem in references}
        for song in systems
    ]
    stacked = [
        np.stack([song[stem][0] for stem in references])
        for song in (references, unseparated, *filled)
    ]
    base, *by_system = bss_eval_sources_systems(stacked[0], stacked[1:])
    return [
        {
            stem: dict.fromkeys(MONO_FIGURES, float("nan"))
            if not estimates[stem].any()
            else dict(
                zip(
                    MONO_FIGURES,
                    (
                        float(scores.sdr[row] - base.sdr[row])
                        if np.isfinite(base.sdr[row])
                        else float("nan"),
                        float(scores.sir[row]),
                        float(scores.sar[row]),
                    ),
                    strict=True,
                )
            )
            for row, stem in enumerate(references)
        }
        for estimates, scores in zip(systems, by_system, strict=True)
    ]


def whole_song(
    references: Song, systems: Sequence[Song], mixture: Samples, spectral: bool = False
) -> list[Figures]:
    """All metrics of this module for each system, by stem and name of the metric.

    A mono song also has NSDR, SIR and SAR of BSS Eval v3. With `spectral`, every stem also has the
    STFT distance. It takes several times as long as the other metrics together, and about 80 times
    the memory of the song's samples.
    """
    metrics = SONG_METRICS | ({SPECTRAL: stft_distance} if spectral else {})
    by_system: list[Figures] = [
        {
            stem: {name: metric(reference, estimates[stem]) for name, metric in metrics.items()}
            for stem, reference in references.items()
        }
        for estimates in systems
    ]
    if len(mixture) == 1:
        mono_by_system = normalised_sdr(references, systems, mixture)
        for figures, mono in zip(by_system, mono_by_system, strict=True):
            for stem in references:
                figures[stem] |= mono[stem]
    return by_system
