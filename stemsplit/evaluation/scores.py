"""museval's scores of separated songs: BSS Eval v4, its files, and its medians."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import BoundedSemaphore

import numpy as np
import torch
from jaxtyping import Float
from rich.progress import Progress

from stemsplit import processes
from stemsplit.data.store import StoredTrack
from stemsplit.evaluation.intervals import Interval, median_interval
from stemsplit.files import replacing
from stemsplit.separator import Separator

# museval 0.4.1 names an exception by a path that NumPy 2 no longer has.
if not hasattr(np.linalg, "linalg"):
    np.linalg.linalg = np.linalg  # type: ignore[attr-defined]

PROTOCOL = "BSS Eval v4, 1 s frames, median of frames, median of songs"
METRICS = ("SDR", "SIR", "ISR", "SAR")
MIXTURE = "mixture"  # the row of the do-nothing system: the mixture as the estimate of every stem

Song = Mapping[str, Float[np.ndarray, "channel time"]]
Frames = dict[str, dict[str, list[float]]]
Table = dict[str, dict[str, dict[str, Interval]]]


def evaluate(
    separator: Separator,
    tracks: Sequence[StoredTrack],
    row: str,
    folder: Path,
    workers: int | None = None,
) -> Table:
    """Separate the mixtures of the tracks and score them, beside the mixture's own scores.

    Songs are separated here while `workers` threads score those before. museval's JSON files
    lie in ``FOLDER/ROW/SUBSET/TRACK.json``, as `museval.EvalStore.add_eval_dir` reads them.
    Several processes (see `stemsplit.processes`) share the tracks; each gets the whole table.
    Returns table[row][stem][metric]: the median over frames of 1 s, then over tracks, in dB.
    """
    workers = workers or os.cpu_count() or 1
    # A few songs wait for their scores at a time: a corpus of them would not fit in memory.
    waiting = BoundedSemaphore(workers + 1)
    jobs: dict[str, list[Future[Frames]]] = {MIXTURE: [], row: []}
    # museval spends its time in transforms and solvers that leave the interpreter to others.
    shared = processes.share(tracks)
    quiet = processes.rank() > 0
    with Progress(disable=quiet) as progress, ThreadPoolExecutor(workers) as pool:
        separating = progress.add_task("separating", total=float(len(shared)))
        scoring = progress.add_task("scoring", total=len(jobs) * len(shared))

        def scored(system: str, track: StoredTrack, references: Song, estimates: Song) -> Frames:
            try:
                frames = score(references, estimates, track.sample_rate)
                path = folder / system / track.subset / f"{track.name}.json"
                write_museval(path, track.name, frames)
                return frames
            finally:
                waiting.release()
                progress.advance(scoring)

        def share_done(number: int, share: float) -> None:
            progress.update(separating, completed=number + share)

        for number, track in enumerate(shared):
            for job in [*jobs[MIXTURE], *jobs[row]]:
                if job.done():
                    job.result()  # a score that failed ends the evaluation now, not at its end
            mixture = track.mixture()
            stems = separator.separate(
                torch.from_numpy(mixture),
                track.sample_rate,
                partial(share_done, number),
            )
            references = reference_stems(separator, track)
            systems: dict[str, Song] = {
                MIXTURE: dict.fromkeys(stems, mixture),
                row: {stem: samples.numpy() for stem, samples in stems.items()},
            }
            for system, estimates in systems.items():
                waiting.acquire()
                jobs[system].append(pool.submit(scored, system, track, references, estimates))
    return {
        system: aggregate(processes.gather([job.result() for job in songs]))
        for system, songs in jobs.items()
    }


def reference_stems(separator: Separator, track: StoredTrack) -> Song:
    """What the separator should give: the targets, and as residual the sum of all other stems."""
    references = {target: track.read(target) for target in separator.targets}
    if separator.residual is not None:
        others = [stem for stem in track.stems if stem not in separator.targets]
        references[separator.residual] = np.sum([track.read(stem) for stem in others], axis=0)
    return references


def score(references: Song, estimates: Song, sample_rate: int) -> Frames:
    """BSS Eval v4 of all stems of a song, frame by frame (1 s windows and hops), in dB.

    museval refuses a song in which a stem, or its estimate, is silent from end to end. Here a
    silent reference gets NaN in every frame, and the others are scored without it; in place of a
    silent estimate stands noise 140 dB below full scale, so that all references stay in play. A
    frame in which any scored stem is silent is NaN for all, as museval has it.
    """
    import museval  # its import asks for the program ffmpeg: the corpus's lister says so first

    sounding = [stem for stem in references if sounds(references[stem])]
    count = max(1, next(iter(references.values())).shape[1] // sample_rate)
    frames = {stem: {metric: [float("nan")] * count for metric in METRICS} for stem in references}
    if not sounding:
        return frames
    sdr, isr, sir, sar = museval.evaluate(
        [references[stem].T for stem in sounding],
        [audible(estimates[stem]).T for stem in sounding],
        win=sample_rate,
        hop=sample_rate,
    )
    for row, stem in enumerate(sounding):
        values = {"SDR": sdr, "SIR": sir, "ISR": isr, "SAR": sar}
        frames[stem] = {metric: found[row].tolist() for metric, found in values.items()}
    return frames


def sounds(samples: Float[np.ndarray, "channel time"]) -> bool:
    """Whether museval takes a stem for more than silence: channels that cancel are silent to it."""
    return bool(np.any(samples.sum(axis=0)))


def audible(estimate: Float[np.ndarray, "channel time"]) -> Float[np.ndarray, "channel time"]:
    """The estimate, or where it is silent, noise that nobody hears."""
    if sounds(estimate):
        return estimate
    return 1e-7 * np.random.default_rng(0).standard_normal(estimate.shape)


def write_museval(path: Path, track: str, frames: Frames) -> None:
    """A song's frames in museval's own JSON layout."""
    import museval

    store = museval.TrackStore(track)
    for stem, values in frames.items():
        store.add_target(stem, values)
    with replacing(path) as temporary:
        store.save(temporary)


def aggregate(songs: Sequence[Frames]) -> dict[str, dict[str, Interval]]:
    """Per stem and metric: the median of a song's frames, then the median of the songs."""
    return {
        stem: {
            metric: median_interval([median_of_frames(song[stem][metric]) for song in songs])
            for metric in METRICS
        }
        for stem in songs[0]
    }


def median_of_frames(values: Sequence[float]) -> float:
    """NaN where no frame has a value; as in museval's EvalStore, an infinite one counts as none."""
    present = [value for value in values if np.isfinite(value)]
    return float(np.median(present)) if present else float("nan")
