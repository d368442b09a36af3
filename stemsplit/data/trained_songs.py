"""RUN/songs.json records the songs of a training; a resumed run compares its songs with them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stemsplit.errors import InputError
from stemsplit.files import replacing

BEFORE = -1  # step of the records that a run takes over from the training of its first weights
MOST = 3  # largest number of songs that a message names for each kind of change
Contents = Mapping[str, str]  # SUBSET/NAME of every song → hash of the content of its files


def remember_songs(run: Path, songs: Contents, step: int, weights: Path | None = None) -> None:
    """Record that the run trains on these songs from training step number `step` on.

    Records that begin before `step` are kept. The other records are removed, because the run trains
    these steps again. At step 0, the run takes over the records of `weights`, the checkpoint whose
    weights it starts with. If this checkpoint has none, a record without songs says so.
    """
    if step:
        records = [record for record in _read(run) if record["from_step"] < step]
    else:
        before = [] if weights is None else _records_of(weights) or [{"songs": {}}]
        records = [{**record, "from_step": BEFORE} for record in before]
    if not step or not records or records[-1]["songs"] != songs:
        records.append({"from_step": step, "songs": dict(songs)})
    with replacing(run / "songs.json") as partial:
        partial.write_text(json.dumps(records, indent=1, ensure_ascii=False), encoding="utf-8")


def check_songs(run: Path, songs: Contents, allow_change: bool) -> str | None:
    """Return a warning to print before the run is resumed with these songs.

    The result is None if the songs are the recorded songs. A run without a record gets a warning.

    Raises `InputError` if the songs differ from the recorded songs and `allow_change` is false.
    """
    records = _own(run)
    if not records:
        return (
            f"{run}: the run has no list of its training songs (an older version wrote it); "
            "resuming with the current songs"
        )
    changes = _changes(records[-1]["songs"], songs)
    if changes is None:
        return None
    text = f"the training songs of {run} have changed: {changes}"
    if not allow_change:
        raise InputError(
            f"{text}; restore the songs, or resume with the changed songs by setting "
            "allow_changed_corpus=true"
        )
    return text


def changed_at(run: Path) -> list[int]:
    """The training steps at which the songs of a run changed."""
    return [record["from_step"] for record in _own(run)][1:]


def trained_contents(checkpoint: Path) -> set[str]:
    """The hashes of the songs that trained the weights of a checkpoint, in its run or before it."""
    return {
        content
        for record in _records_of(checkpoint)
        for song, content in record["songs"].items()
        if song.startswith("train/")
    }


def all_songs_known(checkpoint: Path) -> bool:
    """Whether `trained_contents` returns all songs that trained the weights of a checkpoint."""
    records = _records_of(checkpoint)
    return bool(records) and all(record["songs"] for record in records)


def _records_of(checkpoint: Path) -> list[dict[str, Any]]:
    """The records in the folder of a checkpoint; none if it is not the folder of a run."""
    run = checkpoint.parent
    return _read(run) if (run / "config.yaml").is_file() else []


def _own(run: Path) -> list[dict[str, Any]]:
    return [record for record in _read(run) if record["from_step"] != BEFORE]


def _read(run: Path) -> list[dict[str, Any]]:
    path = run / "songs.json"
    if not path.exists():
        return []
    try:
        records: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        if all({"from_step", "songs"} <= set(record) for record in records):
            return records
    except (ValueError, TypeError):
        pass
    raise InputError(f"{path}: is damaged; remove it to resume without comparing the songs")


def _changes(before: Contents, now: Contents) -> str | None:
    kinds = {
        "added": sorted(now.keys() - before.keys()),
        "removed": sorted(before.keys() - now.keys()),
        "changed": sorted(song for song in before.keys() & now.keys() if before[song] != now[song]),
    }
    texts = [f"{kind}: {_shortened(songs)}" for kind, songs in kinds.items() if songs]
    return "; ".join(texts) or None


def _shortened(songs: Sequence[str]) -> str:
    rest = f" and {len(songs) - MOST} more" if len(songs) > MOST else ""
    return ", ".join(songs[:MOST]) + rest
