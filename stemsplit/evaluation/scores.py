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
from stemsplit.evaluation.matching import Estimates, Samples, Song, fitted, sounding
from stemsplit.evaluation.protocol import Protocol
from stemsplit.evaluation.song_metrics import whole_song

METRICS = ("SDR", "SIR", "ISR", "SAR")
NAN = float("nan")

Frames = dict[str, dict[str, list[float]]]  # by stem and metric, in dB


@dataclass(frozen=True)
class SongScores:
    """`frames` by stem and metric, `whole` by stem and figure; `dropped` counts frames by reason.

    A frame in which a stem is silent is NaN for all stems, and may have several reasons; one with
    an infinite score is left out of the median of that score, and counted as well. `notes` say what
    was done to estimates or references so that they could be scored, and to how many samples where
    that is not all of them.
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
        """Those that have a finite score."""
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
    """All scores of several systems' estimates of a song; arrays are `(channel, time)`.

    See `matching` for what is done about silence and lengths. Raises `InputError` where an estimate
    has samples that are not finite numbers.
    """
    window = round(protocol.frame_seconds * protocol.sample_rate)
    count = max(1, mixture.shape[1] // window)
    scored, unscored = sounding(references)
    fitting = {}
    for name, estimates in systems.items():
        try:
            fitting[name] = fitted(scored, estimates)
        except InputError as error:
            raise InputError(f"{name}, {track}: {error}") from None
    seconds = mixture.shape[1] / protocol.sample_rate
    no_frames: Frames = {stem: {metric: [NAN] * count for metric in METRICS} for stem in references}
    no_figures: dict[str, dict[str, float]] = {stem: {} for stem in references}
    if not scored:
        nothing = SongScores(track, seconds, no_frames, no_figures, {}, unscored)
        return dict.fromkeys(systems, nothing)
    stacked = stack(scored, device)
    estimates_of = {name: stack(fit.scored, device) for name, fit in fitting.items()}
    backend = museval_scores if protocol.backend == "museval" else bss_eval_systems
    results = backend(stacked, list(estimates_of.values()), window, window)
    wholes = whole_song(scored, [fit.given for fit in fitting.values()], mixture, spectral)
    songs = {}
    for (name, fit), result, whole in zip(fitting.items(), results, wholes, strict=True):
        frames = no_frames | {
            stem: {metric: getattr(result, metric.lower())[row].tolist() for metric in METRICS}
            for row, stem in enumerate(scored)
        }
        for stem in fit.silent:
            frames[stem] |= {metric: [NAN] * count for metric in ("SIR", "SAR")}
        reasons: Counter[str] = Counter()
        for frame in dropped(stacked, estimates_of[name], window, window):
            reasons.update({f"{list(scored)[why.stem]}: {why}" for why in frame})
        for stem, values in frames.items():
            for metric in METRICS:
                if infinite := int(np.isinf(values[metric]).sum()):
                    reasons[f"{stem}: {metric} is infinite"] = infinite
        songs[name] = SongScores(
            track, seconds, frames, no_figures | whole, dict(reasons), unscored | fit.notes
        )
    return songs


def stack(song: Song, device: str) -> Float[Tensor, "stem time channel"]:
    return torch.from_numpy(np.stack([samples.T for samples in song.values()])).to(device)


def median_of_frames(values: Sequence[float]) -> float:
    """NaN where no frame has a value; as in museval's EvalStore, an infinite one counts as none."""
    present = [value for value in values if np.isfinite(value)]
    return float(np.median(present)) if present else NAN
