"""Read JSON files that stemsplit wrote; report damaged ones by name."""

import json
from pathlib import Path
from typing import Any, TypeAlias

from stemsplit.errors import InputError

Shape: TypeAlias = object
"""A type; a value; a list of such; a mapping with these names, or any (`...`); one of several."""
ABSENT = object()  # what a name may be that older files do without

NUMBER: Shape = (float, int, None, "-inf")
SCORE = {"median": NUMBER, "low": NUMBER, "high": NUMBER}
WEIGHTED: Shape = {"mean": NUMBER, "low": NUMBER, "high": NUMBER}
COUNTS: Shape = (ABSENT, {...: int})
RESULT: dict[str, Shape] = {
    "scores": {...: {...: {...: (SCORE, WEIGHTED)}}},
    "frames": (ABSENT, {...: {"dropped": COUNTS, "notes": COUNTS}}),
    "differences": (ABSENT, {...: {...: {"SDR": {**SCORE, "p": NUMBER, "songs": int}}}}),
    "spreads": (ABSENT, {...: {...: {...: {"mean": NUMBER, "deviation": NUMBER}}}}),
    "protocol": (ABSENT, str, {"tag": str}),  # before several scenarios: a sentence
    "trained_on": (ABSENT, dict),
    "versions": (ABSENT, dict),
}
ESTIMATE: Shape = {
    "epoch": int,
    "sdr": NUMBER,
    "sdr_mixture": NUMBER,
    "audio": str,
    "picture": str,
}
EXCERPTS: dict[str, Shape] = {
    "excerpts": [
        {
            "track": str,
            "start_seconds": (float, int),
            "seconds": (float, int),
            "mixture": str,
            "stems": {...: {"reference": str, "estimates": [ESTIMATE]}},
        }
    ]
}
RANKING: dict[str, Shape] = {
    "kendall": {"tau": NUMBER, "low": NUMBER, "high": NUMBER, "p": NUMBER},
    "trials": [{"trial": int, "downsampled": NUMBER, "full": NUMBER}],
}


def read_json(path: Path, shape: dict[str, Shape]) -> dict[str, Any]:
    """A mapping; raises `InputError` where it is not what `shape` says."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is damaged ({error})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: is damaged: it holds no mapping")
    for name, inner in shape.items():
        if not fits(content.get(name, ABSENT), inner):
            raise InputError(f"{path}: is damaged: `{name}` is missing, or not what it should be")
    return content


def fits(found: Any, shape: Shape) -> bool:
    if isinstance(shape, tuple):
        return any(fits(found, one) for one in shape)
    if isinstance(shape, list):
        return isinstance(found, list) and all(fits(one, shape[0]) for one in found)
    if isinstance(shape, dict):
        return isinstance(found, dict) and all(
            all(fits(one, inner) for one in found.values())
            if name is ...
            else fits(found.get(name, ABSENT), inner)
            for name, inner in shape.items()
        )
    return isinstance(found, shape) if isinstance(shape, type) else found == shape
