"""RUN/songs.json: the songs of a training, compared when the run is resumed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stemsplit.errors import InputError
from stemsplit.files import replacing

MOST = 3  # songs that a line names
Contents = Mapping[str, str]  # of every song, SUBSET/NAME, what names the content of its files


def remember_songs(run: Path, songs: Contents, step: int) -> None:
    """Note that the run trains on these songs from a step on; those of earlier steps stay noted."""
    earlier = [part for part in _read(run) if part["from_step"] < step]
    if not earlier or earlier[-1]["songs"] != songs:
        earlier.append({"from_step": step, "songs": dict(songs)})
    with replacing(run / "songs.json") as partial:
        partial.write_text(json.dumps(earlier, indent=1, ensure_ascii=False), encoding="utf-8")


def check_songs(run: Path, songs: Contents, allow_change: bool) -> str | None:
    """What to tell the user before a run is resumed with these songs; None for the same songs.

    Raises `InputError` for other songs than those it was trained on, unless that is allowed.
    """
    noted = _read(run)
    if not noted:
        return (
            f"{run}: does not say which songs it was trained on, as runs of older versions; "
            "it is resumed with those that are here now"
        )
    changes = _changes(noted[-1]["songs"], songs)
    if changes is None:
        return None
    text = f"the songs are not those that {run} was trained on: {changes}"
    if not allow_change:
        raise InputError(
            f"{text}; restore them, or resume with the changed songs by saying "
            "allow_changed_corpus=true"
        )
    return text


def changed_at(run: Path) -> list[int]:
    """The steps of a run at which its songs changed."""
    return [part["from_step"] for part in _read(run)][1:]


def _read(run: Path) -> list[dict[str, Any]]:
    path = run / "songs.json"
    if not path.exists():
        return []
    try:
        parts: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        if all({"from_step", "songs"} <= set(part) for part in parts):
            return parts
    except (ValueError, TypeError):
        pass
    raise InputError(f"{path}: is damaged; remove it to resume without comparing the songs")


def _changes(before: Contents, now: Contents) -> str | None:
    kinds = {
        "added": sorted(now.keys() - before.keys()),
        "removed": sorted(before.keys() - now.keys()),
        "changed": sorted(song for song in before.keys() & now.keys() if before[song] != now[song]),
    }
    return "; ".join(f"{kind}: {_few(songs)}" for kind, songs in kinds.items() if songs) or None


def _few(songs: Sequence[str]) -> str:
    rest = f" and {len(songs) - MOST} more" if len(songs) > MOST else ""
    return ", ".join(songs[:MOST]) + rest
