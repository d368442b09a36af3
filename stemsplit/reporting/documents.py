"""Read and validate the JSON files that a report needs."""

import json
from pathlib import Path
from typing import Any, TypeAlias

from stemsplit.errors import InputError

Shape: TypeAlias = object
"""Shape of a JSON value: a type, a constant, a list, a mapping, or a tuple of alternatives.

The shape of a list is a list with one item, the shape of all items. The shape of a mapping maps its
keys to shapes. The key `...` stands for any number of keys, whose values have the same shape.
"""
ABSENT = object()  # an alternative in a tuple: files of older versions may not have the key

NUMBER: Shape = (float, int, None, "-inf")
SCORE = {"median": NUMBER, "low": NUMBER, "high": NUMBER}
WEIGHTED: Shape = {"mean": NUMBER, "low": NUMBER, "high": NUMBER}
COUNTS: Shape = (ABSENT, {...: int})
RESULT: dict[str, Shape] = {
    "scores": {...: {...: {...: (SCORE, WEIGHTED)}}},
    "frames": (ABSENT, {...: {"dropped": COUNTS, "notes": COUNTS}}),
    "differences": (ABSENT, {...: {...: {"SDR": {**SCORE, "p": NUMBER, "songs": int}}}}),
    "spreads": (ABSENT, {...: {...: {...: {"mean": NUMBER, "deviation": NUMBER}}}}),
    "protocol": (ABSENT, str, {"tag": str}),  # older versions wrote the protocol as a sentence
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
    """Read a JSON file with a mapping; `shape` maps its keys to the shapes of their values.

    Raises `InputError` if the file is damaged or does not have the shape.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is damaged ({error})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: is damaged: it is not a mapping")
    for name, inner in shape.items():
        if not fits(content.get(name, ABSENT), inner):
            raise InputError(f"{path}: is damaged: `{name}` is missing or malformed")
    return content


def fits(value: Any, shape: Shape) -> bool:
    """Whether a value read from JSON has the shape."""
    if isinstance(shape, tuple):
        return any(fits(value, alternative) for alternative in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(item, shape[0]) for item in value)
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(
            all(fits(item, inner) for item in value.values())
            if name is ...
            else fits(value.get(name, ABSENT), inner)
            for name, inner in shape.items()
        )
    return isinstance(value, shape) if isinstance(shape, type) else value == shape
