"""The index of a run's excerpts: the files of each excerpt, stem and epoch, as ``index.json``."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stemsplit.audio import Samples
from stemsplit.files import file_name, replacing

Index = list[dict[str, Any]]


class Excerpt(NamedTuple):
    """An excerpt of a song with its reference stems."""

    track: str
    start_seconds: float
    mixture: Samples
    stems: dict[str, Samples]


def read_index(folder: Path) -> Index:
    """Read the ``index.json`` of a folder of excerpts; empty if it is missing or damaged."""
    try:
        index: Index = json.loads((folder / "index.json").read_text())["excerpts"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []
    return index


def write_index(folder: Path, index: Index) -> None:
    with replacing(folder / "index.json") as partial:
        partial.write_text(json.dumps({"excerpts": index}, indent=2) + "\n")


def new_index(excerpts: Sequence[Excerpt], sample_rate: int) -> Index:
    """An index that lists the references and no estimates."""
    return [
        {
            "track": excerpt.track,
            "start_seconds": round(excerpt.start_seconds, 3),
            "seconds": round(excerpt.mixture.shape[1] / sample_rate, 3),
            "mixture": f"{number}/mixture.mp3",
            "stems": {
                stem: {
                    "reference": f"{number}/{file_name(stem, '-reference.mp3')}",
                    "estimates": [],
                }
                for stem in excerpt.stems
            },
        }
        for number, excerpt in enumerate(excerpts)
    ]


def without_estimates(index: Index) -> Index:
    """The part of an index that is the same in all epochs: the excerpts and their references."""
    return [{**excerpt, "stems": _references(excerpt)} for excerpt in index]


def _references(excerpt: Mapping[str, Any]) -> dict[str, str]:
    return {stem: stem_entry["reference"] for stem, stem_entry in excerpt["stems"].items()}


def all_estimates(index: Index) -> Iterator[dict[str, Any]]:
    for excerpt in index:
        for stem_entry in excerpt["stems"].values():
            yield from stem_entry["estimates"]


def thin_out(index: Index, epoch: int, spacing: int) -> None:
    """Remove estimates from the index, in place.

    The estimates of `epoch` and the first estimates of every interval of `spacing` epochs are
    kept.
    """
    for excerpt in index:
        for stem_entry in excerpt["stems"].values():
            firsts: dict[int, dict[str, Any]] = {}
            for estimate in stem_entry["estimates"]:
                firsts.setdefault(estimate["epoch"] // spacing, estimate)
            stem_entry["estimates"] = [
                estimate
                for estimate in stem_entry["estimates"]
                if estimate["epoch"] == epoch or estimate in firsts.values()
            ]


def remove_unlisted(folder: Path, index: Index) -> None:
    """Remove the files of estimates that the index no longer lists."""
    listed = {estimate[kind] for estimate in all_estimates(index) for kind in ("audio", "picture")}
    for file in folder.glob("*/*-epoch-*"):
        if str(file.relative_to(folder)) not in listed:
            file.unlink()
