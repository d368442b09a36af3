"""Read and write the scores of a song in museval's JSON layout."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from stemsplit.evaluation.protocol import Protocol
from stemsplit.evaluation.scores import METRICS, SongScores
from stemsplit.evaluation.song_metrics import SONG_METRICS
from stemsplit.files import replacing


def write(path: Path, scores: SongScores, protocol: Protocol, identity: str) -> None:
    """Write the scores of the frames in museval's layout, with five decimals.

    The key ``stemsplit`` holds all other facts, which museval's layout lacks. Metrics of whole
    songs have ten decimals: their last bits depend on the systems that are scored together.
    """
    import museval  # only here, because its import fails without the program ffmpeg

    store = museval.TrackStore(scores.track, protocol.frame_seconds, protocol.frame_seconds)
    for stem, values in scores.frames.items():
        store.add_target(stem, values)
    facts = {name: value for name, value in asdict(scores).items() if name != "frames"}
    facts["whole"] = {
        stem: {name: round(value, 10) for name, value in metrics.items()}
        for stem, metrics in scores.whole.items()
    }
    store.scores["stemsplit"] = {"identity": identity, "protocol": protocol.facts(), **facts}
    with replacing(path) as temporary:
        store.save(temporary)


def read(path: Path, identity: str, stems: Sequence[str]) -> SongScores | None:
    """Read the scores of a song from a file.

    Returns None if the file is absent or damaged, has another cache key or other stems, or lacks a
    metric.
    """
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        facts = content["stemsplit"]
        if facts["identity"] != identity:
            return None
        frames = {
            target["name"]: {
                metric: [float(frame["metrics"][metric]) for frame in target["frames"]]
                for metric in METRICS
            }
            for target in content["targets"]
        }
        counts = {len(values) for metrics in frames.values() for values in metrics.values()}
        if set(frames) != set(stems) or len(counts) != 1 or set(facts["whole"]) != set(stems):
            return None
        if any(
            figures and not set(SONG_METRICS) <= set(figures) for figures in facts["whole"].values()
        ):
            return None  # written before one of the metrics was added
        return SongScores(
            str(facts["track"]),
            float(facts["seconds"]),
            frames,
            {stem: dict(figures) for stem, figures in facts["whole"].items()},
            dict(facts["dropped"]),
            dict(facts["notes"]),
        )
    # The file is not JSON, or has another layout.
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None
