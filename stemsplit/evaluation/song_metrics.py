"""Metrics of a whole song, one value a stem.

All arrays are `(channel, time)`. A silent reference or estimate has NaN, since no score of it would
mean anything. (The SDR of the challenges is defined for a silent estimate: 0 dB.) A perfect
estimate has infinity; an estimate that holds nothing of its reference has minus infinity.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from auraloss.freq import MultiResolutionSTFTLoss
from jaxtyping import Float64

from stemsplit.evaluation.bss_eval.bss_eval import bss_eval_sources_systems
from stemsplit.evaluation.matching import Samples, Song

Figures = dict[str, dict[str, float]]  # by stem and name
SongMetric = Callable[[Samples, Samples], float]  # reference, estimate → score

SONG_METRICS: dict[str, SongMetric] = {}  # by the name in result.json: see `song_metric`
SPECTRAL = "STFT distance"
MONO_FIGURES = ("NSDR", "SIR (v3)", "SAR (v3)")
BLOCK = 2**20  # samples
CHALLENGE_FLOOR = 1e-7  # the challenges' own, which keeps a silent stem's ratio finite


def song_metric(name: str) -> Callable[[SongMetric], SongMetric]:
    """Decorator: report this score of a reference and an estimate in every evaluation."""

    def registered(function: SongMetric) -> SongMetric:
        SONG_METRICS[name] = function
        return function

    return registered


@song_metric("SI-SDR")
def si_sdr(reference: Samples, estimate: Samples) -> float:
    """Scale-invariant SDR in dB, one scale for all channels.

    J. Le Roux et al., "SDR – half-baked or well done?", ICASSP 2019. A scaled copy of the reference
    has infinity, an estimate that is orthogonal to it minus infinity.
    """
    if not reference.any() or not estimate.any():
        return float("nan")
    cross, energy = (
        sum(float(np.vdot(x, y)) for x, y in blocks(reference, other))
        for other in (estimate, reference)
    )
    if cross == 0:
        return -float("inf")
    scale = cross / energy
    error = sum(float(np.square(y - scale * x).sum()) for x, y in blocks(reference, estimate))
    return float(10 * np.log10(scale**2 * energy / error)) if error else float("inf")


@song_metric("SDR of the song")
def challenge_sdr(reference: Samples, estimate: Samples) -> float:
    """The SDR of the Music Demixing Challenge 2021 and the Sound Demixing Challenge 2023, in dB.

    Energy of the reference over that of the error, of the whole song and all channels:
    Y. Mitsufuji et al., "Music Demixing Challenge 2021" (Frontiers in Signal Processing 1, 2022).
    """
    if not reference.any():
        return float("nan")
    signal = sum(float(np.square(x).sum()) for x, _ in blocks(reference, estimate))
    error = sum(float(np.square(x - y).sum()) for x, y in blocks(reference, estimate))
    return float(10 * np.log10((signal + CHALLENGE_FLOOR) / (error + CHALLENGE_FLOOR)))


def blocks(*signals: Samples) -> Iterator[list[Float64[np.ndarray, "channel _"]]]:
    """Stretches of them in double precision, of which there is not room for whole songs."""
    for start in range(0, signals[0].shape[1], BLOCK):
        yield [x[:, start : start + BLOCK].astype(np.float64) for x in signals]


def stft_distance(reference: Samples, estimate: Samples) -> float:
    """auraloss's multi-resolution STFT distance (spectral convergence and log magnitudes; ≥ 0).

    R. Yamamoto et al., "Parallel WaveGAN", ICASSP 2020. The lower, the nearer.
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
    """NSDR, SIR and SAR of mono stems by BSS Eval v3, as singing-voice papers on MIR-1K have them.

    NSDR is the SDR of the estimate less that of the mixture: C.-L. Hsu and J.-S. R. Jang, IEEE
    TASLP 18(2), 2010. Averages over clips weighted by their lengths are GNSDR, GSIR and GSAR.
    (mir_eval refuses a clip for one silent estimate; here only that estimate has NaN.) A stem whose
    mixture has no finite SDR has no NSDR: there is nothing to gain over a perfect mixture.
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
    base, *found = bss_eval_sources_systems(stacked[0], stacked[1:])
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
        for estimates, scores in zip(systems, found, strict=True)
    ]


def whole_song(
    references: Song, systems: Sequence[Song], mixture: Samples, spectral: bool = False
) -> list[Figures]:
    """All of these for each system, by stem; those of mono sources where the song is mono.

    With `spectral` the STFT distance too, which takes several times as long as all else together,
    and memory of some 80 times the song's samples.
    """
    metrics = SONG_METRICS | ({SPECTRAL: stft_distance} if spectral else {})
    found: list[Figures] = [
        {
            stem: {name: metric(reference, estimates[stem]) for name, metric in metrics.items()}
            for stem, reference in references.items()
        }
        for estimates in systems
    ]
    if len(mixture) == 1:
        for figures, mono in zip(found, normalised_sdr(references, systems, mixture), strict=True):
            for stem in references:
                figures[stem] |= mono[stem]
    return found
