"""What a score was taken on: scores of different protocols are never compared."""

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


def for_scenario(found: Sequence[str], wanted: Sequence[str]) -> dict[str, list[str]]:
    """Of which of the stems that a system gives each wanted one is the sum.

    A stem is itself; an accompaniment or residual that is not given is all that is not wanted.
    Raises `InputError` where a wanted stem cannot be had.
    """
    rest = [stem for stem in found if stem not in wanted]
    parts = {}
    for stem in wanted:
        if stem in found:
            parts[stem] = [stem]
        elif stem in (ACCOMPANIMENT, RESIDUAL) and rest:
            parts[stem] = rest
        else:
            raise InputError(f"no {stem} among the stems {list(found)}: it cannot be scored")
    return parts
