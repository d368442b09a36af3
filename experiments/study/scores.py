"""The scores of the runs of an experiment, which may come from several evaluations."""

import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from experiments.study.plan import Plan, Settings
from experiments.study.trainings import Training, score
from stemsplit.errors import InputError
from stemsplit.evaluation.intervals import paired_difference
from stemsplit.evaluation.scores import METRICS, median_of_frames

# Facts about an evaluation that a result keeps; others, such as folders, are left out.
CONDITIONS = ("corpus", "subset", "fingerprint", "protocol")
FACTS = (*CONDITIONS, "commit", "versions", "scores", "frames")

# Medians over frames in dB, by stem and metric, one for each song in alphabetical order.
Medians = dict[str, dict[str, list[float]]]


def scored(runs: list[Training], settings: Settings, output: Path) -> dict[str, Any]:
    """Score runs together: facts about the evaluation, and the medians of all songs."""
    evaluation = score(runs, settings, output)
    facts = {name: evaluation[name] for name in FACTS if name in evaluation}
    medians = {run.name: song_medians(output, run.name) for run in runs}
    return {**facts, "song_medians": medians, "differences": differences(medians)}


def combined(earlier: dict[str, Any], later: dict[str, Any], order: Sequence[str]) -> dict:
    """Combine the scores of two evaluations; `order` is the order of the names of the runs.

    Raises `InputError` if the evaluations differ in their songs or in their protocol.
    """
    different = [name for name in CONDITIONS if earlier[name] != later[name]]
    if different:
        raise InputError(
            f"the runs of the existing result were scored with a different {different[0]}; "
            "choose another folder with --results"
        )
    both = {name: earlier[name] | later[name] for name in ("scores", "frames", "song_medians")}
    both["song_medians"] = in_order(both["song_medians"], order)
    return later | both | {"differences": differences(both["song_medians"])}


def in_order(runs: dict[str, Any], order: Sequence[str]) -> dict[str, Any]:
    return {name: runs[name] for name in order if name in runs}


def song_medians(evaluation: Path, system: str) -> Medians:
    medians: Medians = {}
    for path in sorted(evaluation.glob(f"museval/*/{system}/*/*.json")):
        for target in json.loads(path.read_text())["targets"]:
            metrics = medians.setdefault(target["name"], {name: [] for name in METRICS})
            for name, songs in metrics.items():
                frames = [frame["metrics"][name] for frame in target["frames"]]
                songs.append(round(median_of_frames(frames), 4))
    return medians


def differences(medians: dict[str, Medians]) -> dict[str, dict[str, dict[str, Any]]]:
    """Paired differences between the song medians of each pair of runs, by stem and metric."""
    return {
        f"{second} - {first}": difference_of_means([medians[second]], [medians[first]])
        for first, second in combinations(medians, 2)
    }


def over_seeds(plan: Plan, medians: dict[str, Medians]) -> dict[str, dict[str, dict[str, Any]]]:
    """Paired differences between the networks of a plan, by pair, stem and metric.

    The score of a song is the mean over the seeds of its medians over frames. Songs without a score
    for one of the seeds are left out. The intervals and p-values show how much the songs differ,
    not how much the seeds differ. `seeds` lists the median difference over songs for each seed.
    """
    runs = {name: [medians[f"{name}-{seed}"] for seed in plan.seeds] for name in plan.runs}
    return {
        f"{second} - {first}": difference_of_means(runs[second], runs[first])
        for first, second in combinations(plan.runs, 2)
    }


def difference_of_means(
    first: Sequence[Medians], second: Sequence[Medians]
) -> dict[str, dict[str, Any]]:
    """Summarise the differences between the means over seeds, one difference per song."""
    stems: dict[str, dict[str, Any]] = {}
    for stem, metrics in first[0].items():
        for metric in metrics:
            # A missing score, None in a file, becomes NaN.
            minuend, subtrahend = (
                np.array([scores[stem][metric] for scores in side], dtype=float)
                for side in (first, second)
            )
            by_song = minuend - subtrahend
            by_song = by_song[:, np.isfinite(by_song).all(axis=0)]
            facts = paired_difference(by_song.mean(axis=0).tolist(), frames=0).facts()
            del facts["frames"]
            if len(first) > 1:
                facts["seeds"] = np.median(by_song, axis=1).tolist()
            stems.setdefault(stem, {})[metric] = facts
    return stems
