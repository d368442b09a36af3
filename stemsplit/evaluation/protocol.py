"""The protocol of a score; scores of different protocols are never compared."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stemsplit.errors import InputError

ACCOMPANIMENT = "accompaniment"
RESIDUAL = "residual"  # of other targets than vocals alone
FOUR_STEMS = {"drums", "bass", "other", "vocals"}
VERSION = "BSS Eval v4"
BACKENDS = ("stemsplit", "museval")
FRAME_SECONDS = 1.0  # of windows and of hops, as in the field's published scores


@dataclass(frozen=True)
class Protocol:
    """Corpus, split, which stems are scored together, and how.

    museval leaves out a frame in which any of the stems is silent, so the scores of vocals beside
    an accompaniment and those of vocals beside three other stems are not of the same frames: the
    scenario belongs to every score.
    """

    corpus: str
    subset: str
    stems: tuple[str, ...]
    sample_rate: int
    channels: int
    backend: str = BACKENDS[0]  # whose implementation of the same scores
    version: str = VERSION
    frame_seconds: float = FRAME_SECONDS

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise InputError(f"evaluation.backend={self.backend} is none of {BACKENDS}")

    @property
    def scenario(self) -> str:
        """``vocals and accompaniment``, ``four stems``, or the names of whatever is scored."""
        if set(self.stems) == {"vocals", ACCOMPANIMENT}:
            return "vocals and accompaniment"
        return "four stems" if set(self.stems) == FOUR_STEMS else " + ".join(self.stems)

    def __str__(self) -> str:
        by = "" if self.backend == BACKENDS[0] else f" by {self.backend}"
        return (
            f"{self.corpus} {self.subset}, {self.scenario}, {self.version}{by}, "
            f"{self.frame_seconds:g} s frames, {self.sample_rate} Hz"
        )

    def facts(self) -> dict[str, Any]:
        """Plain values, as every file of scores carries them."""
        return {"tag": str(self), "scenario": self.scenario, **asdict(self)}


def residual_of(wanted: Sequence[str]) -> str | None:
    """The stem that stands for the rest of the mixture: it comes last, and is called so."""
    return wanted[-1] if wanted and wanted[-1] in (ACCOMPANIMENT, RESIDUAL) else None


def for_scenario(found: Sequence[str], wanted: Sequence[str]) -> dict[str, list[str]]:
    """Which of the stems `found`, whose sum is the mixture, add up to each wanted stem.

    The residual is the sum of all that is not wanted otherwise. A corpus may have a stem of the
    same name (an accompaniment beside a crowd), which is then one part of it. Raises `InputError`
    where a wanted stem cannot be had.
    """
    residual = residual_of(wanted)
    parts = {}
    for stem in wanted:
        rest = [] if stem != residual else [part for part in found if part not in wanted]
        parts[stem] = [part for part in found if part == stem or part in rest]
        if not parts[stem]:
            raise InputError(f"no {stem} among the stems {list(found)}: it cannot be scored")
    return parts
