"""The scores of one system on one song: BSS Eval frame by frame, and figures of the whole song."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from stemsplit.errors import InputError
from stemsplit.evaluation.bsseval import BssEval, bss_eval_systems
from stemsplit.evaluation.frames import dropped
from stemsplit.evaluation.matching import Estimates, Samples, Song, fitted, sounding
from stemsplit.evaluation.protocol import Protocol
from stemsplit.evaluation.whole import whole_song
from stemsplit.files import replacing

# museval 0.4.1 names an exception by a path that NumPy 2 no longer has.
if not hasattr(np.linalg, "linalg"):
    np.linalg.linalg = np.linalg  # type: ignore[attr-defined]

METRICS = ("SDR", "SIR", "ISR", "SAR")
NAN = float("nan")

Frames = dict[str, dict[str, list[float]]]  # by stem and metric, in dB


@dataclass(frozen=True)
class SongScores:
    """`frames` by stem and metric, `whole` by stem and figure; `dropped` counts frames by reason.

    A frame that is left out is NaN for all stems, and may have several reasons. `notes` say what
    was done to estimates or references so that they could be scored.
    """

    track: str
    seconds: float
    frames: Frames
    whole: dict[str, dict[str, float]]
    dropped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def frame_count(self) -> int:
        return len(next(iter(self.frames.values()))["SDR"])

    @property
    def frames_scored(self) -> int:
        """Those in which any stem has a score."""
        sdr = np.array([values["SDR"] for values in self.frames.values()])
        return int((~np.isnan(sdr)).any(axis=0).sum())


def score(
    track: str,
    references: Song,
    systems: Mapping[str, Estimates],
    mixture: Samples,
    protocol: Protocol,
    device: str = "cpu",
) -> dict[str, SongScores]:
    """All scores of several systems' estimates of a song; arrays are `(channel, time)`.

    See `matching` for what is done about silence and lengths. Raises `InputError` where an estimate
    has samples that are not finite numbers.
    """
    window = round(protocol.frame_seconds * protocol.sample_rate)
    count = max(1, mixture.shape[1] // window)
    scored, silent = sounding(references)
    fitting = {}
    for name, estimates in systems.items():
        try:
            fitting[name] = fitted(scored, estimates)
        except InputError as error:
            raise InputError(f"{name}, {track}: {error}") from None
    estimates_of = {name: stack(estimates, device) for name, (estimates, _) in fitting.items()}
    found = {}
    if scored:
        stacked = stack(scored, device)
        backend = museval_scores if protocol.backend == "museval" else bss_eval_systems
        results = backend(stacked, list(estimates_of.values()), window, window)
        found = dict(zip(systems, results, strict=True))
        wholes = whole_song(scored, [estimates for estimates, _ in fitting.values()], mixture)
    songs = {}
    for number, (name, (_, notes)) in enumerate(fitting.items()):
        frames = {stem: {metric: [NAN] * count for metric in METRICS} for stem in references}
        whole: dict[str, dict[str, float]] = {stem: {} for stem in references}
        reasons: Counter[str] = Counter()
        if scored:
            for row, stem in enumerate(scored):
                values = found[name]._asdict()
                frames[stem] = {metric: values[metric.lower()][row].tolist() for metric in METRICS}
            for frame in dropped(stacked, estimates_of[name], window, window):
                reasons.update({f"{list(scored)[why.stem]}: {why}" for why in frame})
            whole |= wholes[number]
        seconds = mixture.shape[1] / protocol.sample_rate
        songs[name] = SongScores(track, seconds, frames, whole, dict(reasons), silent + notes)
    return songs


def stack(song: Song, device: str) -> Float[Tensor, "stem time channel"]:
    stems = [samples.T for samples in song.values()]
    return torch.from_numpy(np.stack(stems) if stems else np.zeros((0, 1, 1))).to(device)


def museval_scores(
    references: Tensor, systems: Sequence[Tensor], window: int, hop: int
) -> list[BssEval]:
    """museval's own, for whoever wants to see the two agree."""
    import museval  # its import asks for the program ffmpeg

    found = []
    for estimates in systems:
        pair = (list(stems.cpu().numpy()) for stems in (references, estimates))
        sdr, isr, sir, sar = museval.evaluate(*pair, win=window, hop=hop)
        found.append(BssEval(sdr, isr, sir, sar))
    return found


def write(path: Path, scores: SongScores, protocol: Protocol, identity: str) -> None:
    """In museval's own JSON layout, which its stores read; all else lies under ``stemsplit``."""
    import museval

    store = museval.TrackStore(scores.track, protocol.frame_seconds, protocol.frame_seconds)
    for stem, values in scores.frames.items():
        store.add_target(stem, values)
    facts = {name: value for name, value in asdict(scores).items() if name != "frames"}
    store.scores["stemsplit"] = {"identity": identity, "protocol": protocol.facts(), **facts}
    with replacing(path) as temporary:
        store.save(temporary)


def read(path: Path, identity: str) -> SongScores | None:
    """What was written there; None where nothing was, or scores of something else."""
    if not path.is_file():
        return None
    content = json.loads(path.read_text())
    facts = content.get("stemsplit", {})
    if facts.get("identity") != identity:
        return None
    frames = {
        target["name"]: {
            metric: [float(frame["metrics"][metric]) for frame in target["frames"]]
            for metric in METRICS
        }
        for target in content["targets"]
    }
    names = ("track", "seconds", "whole", "dropped", "notes")
    return SongScores(frames=frames, **{name: facts[name] for name in names})


def median_of_frames(values: Sequence[float]) -> float:
    """NaN where no frame has a value; as in museval's EvalStore, an infinite one counts as none."""
    present = [value for value in values if np.isfinite(value)]
    return float(np.median(present)) if present else NAN
