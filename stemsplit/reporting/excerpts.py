"""The excerpts in an HTML report: audio players and spectrograms of one or more runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from stemsplit.errors import InputError
from stemsplit.reporting.embedding import embedded
from stemsplit.reporting.run_records import RunRecord

# Limits for the size of a report, in which an estimate takes 150 to 300 kB.
MAX_ESTIMATES = 8  # estimates of one excerpt, for all stems together, in the report of one run
MAX_RUNS = 6  # runs whose estimates of an excerpt are compared


class Estimate(NamedTuple):
    """An estimate of a stem of an excerpt; `label` names its epoch or run."""

    label: str
    sdr: float | None  # dB
    gain: float | None  # dB over the mixture
    audio: str  # a data URI, like `picture`
    picture: str


@dataclass(frozen=True)
class StemExcerpt:
    """A stem of an excerpt with its estimates; `mixture` and `reference` are data URIs."""

    title: str
    mixture: str
    reference: str
    estimates: list[Estimate]
    left_out: str  # a sentence about estimates that are not shown, or ""


def excerpts(record: RunRecord) -> list[StemExcerpt]:
    """All excerpts and stems of a run, with their estimates of evenly spaced epochs.

    The estimate of the last epoch comes first.
    """
    limit = max(2, MAX_ESTIMATES // max(1, len(record.targets)))
    stem_excerpts = []
    for excerpt, stem in _stems_of(record):
        logged = excerpt["stems"][stem]["estimates"]
        last = len(logged) - 1
        count = min(limit, len(logged))
        chosen = sorted({round(last * i / max(1, count - 1)) for i in range(count)}, reverse=True)
        estimates = [_estimate(record, logged[i], f"epoch {logged[i]['epoch']}") for i in chosen]
        hidden = len(logged) - len(estimates)
        left_out = f"The run's folder has estimates of {hidden} more epochs." if hidden else ""
        stem_excerpts.append(_stem_excerpt(record, excerpt, stem, estimates, left_out))
    return stem_excerpts


def side_by_side(records: Sequence[RunRecord]) -> list[StemExcerpt]:
    """All excerpts that at least two runs share, with the last estimate of each run."""
    shared: dict[tuple[Any, ...], list[tuple[RunRecord, dict[str, Any]]]] = {}
    for record in records:
        for excerpt, stem in _stems_of(record):
            key = (excerpt["track"], excerpt["start_seconds"], excerpt["seconds"], stem)
            shared.setdefault(key, []).append((record, excerpt))
    stem_excerpts = []
    for (*_, stem), runs in shared.items():
        if len(runs) < 2:
            continue
        estimates = []
        for record, excerpt in runs[:MAX_RUNS]:
            last = excerpt["stems"][stem]["estimates"][-1]
            estimates.append(_estimate(record, last, f"{record.name}, epoch {last['epoch']}"))
        names = ", ".join(record.name for record, _ in runs[MAX_RUNS:])
        left_out = f"Not shown, to limit the size of this page: {names}." if names else ""
        record, excerpt = runs[0]
        stem_excerpts.append(_stem_excerpt(record, excerpt, stem, estimates, left_out))
    return stem_excerpts


def _stems_of(record: RunRecord) -> list[tuple[dict[str, Any], str]]:
    """All pairs (excerpt, stem) for which the run has at least one estimate."""
    return [
        (excerpt, stem)
        for excerpt in record.excerpts
        for stem, logged in excerpt["stems"].items()
        if logged["estimates"]
    ]


def _estimate(record: RunRecord, logged: Mapping[str, Any], label: str) -> Estimate:
    sdr, of_mixture = logged["sdr"], logged["sdr_mixture"]
    gain = None if sdr is None or of_mixture is None else sdr - of_mixture
    audio, picture = (embedded(_file_of(record, logged[kind])) for kind in ("audio", "picture"))
    return Estimate(label, sdr, gain, audio, picture)


def _stem_excerpt(
    record: RunRecord,
    excerpt: Mapping[str, Any],
    stem: str,
    estimates: list[Estimate],
    left_out: str,
) -> StemExcerpt:
    start, end = excerpt["start_seconds"], excerpt["start_seconds"] + excerpt["seconds"]
    return StemExcerpt(
        f"{stem}: {excerpt['track']}, {start:.1f}–{end:.1f} s",
        embedded(_file_of(record, excerpt["mixture"])),
        embedded(_file_of(record, excerpt["stems"][stem]["reference"])),
        estimates,
        left_out,
    )


def _file_of(record: RunRecord, name: str) -> Path:
    """The path of a file in the run's folder ``excerpts``.

    Raises `InputError` if `name` leads out of this folder. Without this check, a manipulated
    ``index.json`` could make a report contain any file of the machine.
    """
    folder = (record.folder / "excerpts").resolve()
    path = (folder / name).resolve()
    if not path.is_relative_to(folder) or not path.is_file():
        raise InputError(f"{folder / 'index.json'}: there is no file {name} in this folder")
    return path
