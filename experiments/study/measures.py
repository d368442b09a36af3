"""Further results of an experiment besides the scores of its runs."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import stemsplit
from experiments.study.peer import peer
from experiments.study.plan import Plan
from experiments.study.scores import scored
from experiments.study.trainings import Training, config_of, corpus_of
from stemsplit import audio
from stemsplit.data.store.stored import StoredTrack
from stemsplit.evaluation.intervals import median_interval, paired_difference
from stemsplit.reporting.run_records import read_run
from stemsplit.separation.separator import Separator

SNRS = (20, 10, 0)  # decibels of the mixture above the noise
EXPLODES = 100.0  # a gradient explodes above this multiple of its layer's first gradient


def leakage(plan: Plan, runs: list[Training], folder: Path) -> dict[str, Any]:
    """How much of each stem of the test songs is in the estimate of the first target.

    The estimate without the Wiener filter is a mask times the mixture, hence the sum of the mask
    times each stem. The results are the energies of these parts relative to their stems, in dB:
    medians over songs with their confidence intervals, and the paired differences from the first
    run. The networks must estimate masks.
    """
    shares = {run.name: shares_of(run) for run in runs}
    [first, *others] = shares

    def over_songs(songs: dict[str, list[float]]) -> dict[str, Any]:
        return {stem: dict(median_interval(values)._asdict()) for stem, values in songs.items()}

    return {
        "decibels": {name: over_songs(songs) for name, songs in shares.items()},
        "differences": {
            f"{name} - {first}": {
                stem: paired_difference(
                    [
                        other - own
                        for other, own in zip(songs, shares[first][stem], strict=True)
                        if not math.isnan(other - own)
                    ],
                    frames=0,
                ).facts()
                for stem, songs in shares[name].items()
            }
            for name in others
        },
    }


def shares_of(run: Training) -> dict[str, list[float]]:
    separator = stemsplit.load(run.folder / "best.ckpt")
    corpus = corpus_of(run)
    songs = [share_of(separator, track) for track in corpus.tracks("test")]
    return {stem: [song[stem] for song in songs] for stem in corpus.stems}


@torch.no_grad()
def share_of(separator: Separator, track: StoredTrack) -> dict[str, float]:
    """The energy of each stem after the first target's mask, relative to the stem, in dB."""
    front_end = separator.front_end
    spectrum = front_end(torch.from_numpy(track.mixture())[None])
    mask = separator.network(front_end.views(spectrum, separator.network.views))[:, 0]
    shares = {}
    for stem in track.stems:
        part = front_end(torch.from_numpy(track.read(stem))[None])
        # NaN for a silent stem.
        share = (mask * part).abs().square().sum() / part.abs().square().sum()
        shares[stem] = float(10 * torch.log10(share))
    return shares


def noise(plan: Plan, runs: list[Training], folder: Path) -> dict[str, Any]:
    """Scores of the runs on test songs with white noise, for each mixture-to-noise ratio in dB.

    The noise belongs to the accompaniment, so that the stems still sum to the mixture.
    """
    config, corpus = config_of(runs[0]), corpus_of(runs[0])
    scores = {}
    for snr in SNRS:
        noisy = folder / f"noise-{snr}"
        for track in corpus.tracks("test"):
            write_noisy(track, snr, noisy / "test" / track.name)
        settings = [
            "data=folder",
            f"data.root={noisy}",
            "stems=[accompaniment,vocals]",
            f"corpus={config.corpus}-noise-{snr}",
            *(f"{name}={config[name]}" for name in ("sample_rate", "channels", "window", "hop")),
        ]
        output = folder / f"evaluation-noise-{snr}"
        scores[str(snr)] = scored(runs, [*plan.evaluate, *settings], output)
    return scores


def write_noisy(track: StoredTrack, snr: int, song: Path) -> None:
    """Write a song as vocals and accompaniment with white noise, `snr` dB below the mixture.

    Existing files are kept, so that their fingerprints and decoded copies stay valid.
    """
    mixture, vocals = track.mixture(), track.read("vocals")
    level = np.sqrt(np.mean(np.square(mixture))) * 10 ** (-snr / 20)
    # The name seeds the noise, so that it does not depend on the order of the songs.
    random = np.random.default_rng(list(track.name.encode()))
    noise = random.standard_normal(mixture.shape, dtype=np.float32) * level
    song.mkdir(parents=True, exist_ok=True)
    for stem, samples in {"vocals": vocals, "accompaniment": mixture - vocals + noise}.items():
        path = song / f"{stem}.wav"
        if not path.is_file():
            audio.write(path, samples, track.sample_rate)


def gradients(plan: Plan, runs: list[Training], folder: Path) -> dict[str, Any]:
    """The gradients of the weights of each layer: the first norm, the largest and its step."""
    content = {}
    for run in runs:
        layers = read_run(run.folder).layers("gradient")
        content[run.name] = {name: extremes(points) for name, points in layers.items()}
    return content


def extremes(points: list[tuple[float, float]]) -> dict[str, float | None]:
    """Summarise the norms of a layer's gradient, pairs (step, norm).

    The reference is the norm at the first step, which does not depend on the learning rate.
    `exploded_at` is the first step with NaN, infinity or more than `EXPLODES` times the reference.
    If the reference is 0, only NaN and infinity count. `zero_share` is the share of steps with
    norm 0.
    """
    _, first = points[0]
    step, largest = max(points, key=lambda point: math.inf if math.isnan(point[1]) else point[1])
    exploded = [at for at, norm in points if not math.isfinite(norm) or 0 < EXPLODES * first < norm]
    return {
        "first": first,
        "largest": largest,
        "at_step": step,
        "exploded_at": exploded[0] if exploded else None,
        "zero_share": sum(norm == 0 for _, norm in points) / len(points),
    }


MEASURES: dict[str, Callable[[Plan, list[Training], Path], dict[str, Any]]] = {
    "leakage": leakage,
    "noise": noise,
    "gradients": gradients,
    "peer": peer,
}
