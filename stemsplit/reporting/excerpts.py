"""The excerpts in an HTML report: audio players and spectrograms of one or more runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from stemsplit.errors import InputError
from stemsplit.reporting.embedding import embedded
from stemsplit.reporting.run_records import RunRecord

SOUNDS = 8  # estimates of an excerpt that a page holds; 150 to 300 kB each
BESIDE = 6  # … of several runs, each of which is in sight


class Take(NamedTuple):
    """An estimate of an excerpt; `label` says of which epoch or run."""

    label: str
    sdr: float | None
    gain: float | None
    audio: str
    picture: str


@dataclass(frozen=True)
class Heard:
    """A stem of an excerpt, as it was and as it was found."""

    title: str
    mixture: str
    reference: str
    takes: list[Take]
    left_out: str  # a sentence, or nothing


def excerpts(record: RunRecord) -> list[Heard]:
    """Of every excerpt and stem some epochs, from the first to the last."""
    several = max(2, SOUNDS // max(1, len(record.targets)))
    found = []
    for place, excerpt in _stems_of(record):
        stem, of_stem = place
        estimates = of_stem["estimates"]
        last = len(estimates) - 1
        count = min(several, len(estimates))
        kept = sorted({round(last * i / max(1, count - 1)) for i in range(count)}, reverse=True)
        takes = [_take(record, estimates[i], f"epoch {estimates[i]['epoch']}") for i in kept]
        more = len(estimates) - len(takes)
        left_out = f"{more} other epochs lie in the run's folder." if more else ""
        found.append(_heard(record, excerpt, stem, takes, left_out))
    return found


def side_by_side(records: Sequence[RunRecord]) -> list[Heard]:
    """Of the excerpts that several runs share, each run's last estimate."""
    shared: dict[tuple[Any, ...], list[tuple[RunRecord, str, dict[str, Any]]]] = {}
    for record in records:
        for (stem, _), excerpt in _stems_of(record):
            key = (excerpt["track"], excerpt["start_seconds"], excerpt["seconds"], stem)
            shared.setdefault(key, []).append((record, stem, excerpt))
    found = []
    for several in shared.values():
        if len(several) < 2:
            continue
        takes = []
        for record, stem, excerpt in several[:BESIDE]:
            last = excerpt["stems"][stem]["estimates"][-1]
            takes.append(_take(record, last, f"{record.name}, epoch {last['epoch']}"))
        left_out = ", ".join(record.name for record, _, _ in several[BESIDE:])
        record, stem, excerpt = several[0]
        sentence = f"Left out for their size: {left_out}." if left_out else ""
        found.append(_heard(record, excerpt, stem, takes, sentence))
    return found


def _stems_of(record: RunRecord) -> list[tuple[tuple[str, dict[str, Any]], dict[str, Any]]]:
    return [
        ((stem, of_stem), excerpt)
        for excerpt in record.excerpts
        for stem, of_stem in excerpt["stems"].items()
        if of_stem["estimates"]
    ]


def _take(record: RunRecord, estimate: Mapping[str, Any], label: str) -> Take:
    sdr, before = estimate["sdr"], estimate["sdr_mixture"]
    gain = None if sdr is None or before is None else sdr - before
    sound, picture = (embedded(_inside(record, estimate[kind])) for kind in ("audio", "picture"))
    return Take(label, sdr, gain, sound, picture)


def _heard(
    record: RunRecord, excerpt: Mapping[str, Any], stem: str, takes: list[Take], left_out: str
) -> Heard:
    start, end = excerpt["start_seconds"], excerpt["start_seconds"] + excerpt["seconds"]
    return Heard(
        f"{stem}: {excerpt['track']}, {start:.1f}–{end:.1f} s",
        embedded(_inside(record, excerpt["mixture"])),
        embedded(_inside(record, excerpt["stems"][stem]["reference"])),
        takes,
        left_out,
    )


def _inside(record: RunRecord, name: str) -> Path:
    """A file that the run's index names; of no other folder than its own."""
    folder = (record.folder / "excerpts").resolve()
    path = (folder / name).resolve()
    if not path.is_relative_to(folder) or not path.is_file():
        raise InputError(f"{folder / 'index.json'}: there is no {name} beside it")
    return path
