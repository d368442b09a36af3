"""All scores of one system on one song: BSS Eval by frame, and whole-song metrics."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from stemsplit.errors import InputError
from stemsplit.evaluation.bss_eval.bss_eval import bss_eval_systems
from stemsplit.evaluation.bss_eval.frames import dropped
from stemsplit.evaluation.bss_eval.museval_backend import museval_scores
from stemsplit.evaluation.matching import Estimates, Samples, Song, fit_estimates, scorable
from stemsplit.evaluation.protocol import Protocol
from stemsplit.evaluation.song_metrics import whole_song

METRICS = ("SDR", "SIR", "ISR", "SAR")
NAN = float("nan")

Frames = dict[str, dict[str, list[float]]]  # by stem and metric, in dB


@dataclass(frozen=True)
class SongScores:
    """Scores of one system on one song.

    frames: BSS Eval in dB by stem and metric, one value per frame. A frame in which any stem is
        silent is NaN for all stems.
    whole: metrics of the whole song by stem and name; see `song_metrics`.
    dropped: number of unscored frames by reason. A frame may have several reasons. A frame with an
        infinite score also counts as unscored, because medians over frames leave this score out.
    notes: changes to references and estimates before scoring, and how many samples they affect;
        0 means all samples.
    """

    track: str
    seconds: float
    frames: Frames
    whole: dict[str, dict[str, float]]
    dropped: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)

    @property
    def frame_count(self) -> int:
        return len(next(iter(self.frames.values()))["SDR"])

    def frames_scored(self, stem: str, metric: str) -> int:
        """Number of frames with a finite score."""
        return int(np.isfinite(self.frames.get(stem, {}).get(metric, [])).sum())


def score(
    track: str,
    references: Song,
    systems: Mapping[str, Estimates],
    mixture: Samples,
    protocol: Protocol,
    device: str = "cpu",
    spectral: bool = False,
) -> dict[str, SongScores]:
    """Score several systems' estimates of one song; arrays are `(channel, time)`.

    `matching` describes how silence and differing lengths are handled; `whole_song` describes
    `spectral`. Raises `InputError` if an estimate contains NaN or infinity.
    """
    window = round(protocol.frame_seconds * protocol.sample_rate)
    count = max(1, mixture.shape[1] // window)
    scored, unscored = scorable(references)
    fitted = {}
    for name, estimates in systems.items():
        try:
            fitted[name] = fit_estimates(scored, estimates)
        except InputError as error:
            raise InputError(f"{name}, {track}: {error}") from None
    seconds = mixture.shape[1] / protocol.sample_rate
    no_frames: Frames = {stem: {metric: [NAN] * count for metric in METRICS} for stem in references}
    no_metrics: dict[str, dict[str, float]] = {stem: {} for stem in references}
    if not scored:
        no_scores = SongScores(track, seconds, no_frames, no_metrics, {}, unscored)
        return dict.fromkeys(systems, no_scores)
    stacked = stack(scored, device)
    estimates_of = {name: stack(fit.scored, device) for name, fit in fitted.items()}
    backend = museval_scores if protocol.backend == "museval" else bss_eval_systems
    results = backend(stacked, list(estimates_of.values()), window, window)
    metrics_of = whole_song(scored, [fit.unchanged for fit in fitted.values()], mixture, spectral)
    songs = {}
    for (name, fit), result, song_metrics in zip(fitted.items(), results, metrics_of, strict=True):
        frames = no_frames | {
            stem: {metric: getattr(result, metric.lower())[row].tolist() for metric in METRICS}
            for row, stem in enumerate(scored)
        }
        for stem in fit.silent:
            frames[stem] |= {metric: [NAN] * count for metric in ("SIR", "SAR")}
        reasons: Counter[str] = Counter()
        for silences in dropped(stacked, estimates_of[name], window, window):
            reasons.update({f"{list(scored)[silence.stem]}: {silence}" for silence in silences})
        for stem, values in frames.items():
            for metric in METRICS:
                if infinite := int(np.isinf(values[metric]).sum()):
                    reasons[f"{stem}: {metric} is infinite"] = infinite
        songs[name] = SongScores(
            track, seconds, frames, no_metrics | song_metrics, dict(reasons), unscored | fit.notes
        )
    return songs


def stack(song: Song, device: str) -> Float[Tensor, "stem time channel"]:
    return torch.from_numpy(np.stack([samples.T for samples in song.values()])).to(device)


def median_of_frames(values: Sequence[float]) -> float:
    """Median of the finite values, as in museval's EvalStore; NaN without finite values."""
    present = [value for value in values if np.isfinite(value)]
    return float(np.median(present)) if present else NAN
