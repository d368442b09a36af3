"""The protocol of a score: corpus, stems and measure. Compare only scores of the same protocol."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stemsplit.errors import InputError

ACCOMPANIMENT = "accompaniment"
RESIDUAL = "residual"  # the rest of the mixture, if vocals are not the only target
FOUR_STEMS = {"drums", "bass", "other", "vocals"}
VERSION = "BSS Eval v4"
BACKENDS = ("stemsplit", "museval")
FRAME_SECONDS = 1.0  # window and hop, as in published scores


@dataclass(frozen=True)
class Protocol:
    """Corpus, subset, the stems that are scored together, and the measure.

    The scenario is the set of stems. A score is only defined together with its scenario, because
    museval skips a frame if any stem is silent in it. For example, vocals may be scored in fewer
    frames together with drums, bass and other than together with an accompaniment.

    Raises `InputError` for an unknown backend.
    """

    corpus: str
    subset: str
    stems: tuple[str, ...]
    sample_rate: int
    channels: int
    backend: str = BACKENDS[0]  # both implementations give the same scores
    version: str = VERSION
    frame_seconds: float = FRAME_SECONDS

    def __post_init__(self) -> None:
        if self.backend not in BACKENDS:
            raise InputError(
                f"unknown evaluation.backend={self.backend}; choose {' or '.join(BACKENDS)}"
            )

    @property
    def scenario(self) -> str:
        """``vocals and accompaniment``, ``four stems``, or the names of the stems."""
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
        """The protocol in the format of score files."""
        return {"tag": str(self), "scenario": self.scenario, **asdict(self)}


def residual_of(wanted: Sequence[str]) -> str | None:
    """Return the last stem if it is the residual (the rest of the mixture), otherwise None.

    A residual is named ``accompaniment`` or ``residual``.
    """
    return wanted[-1] if wanted and wanted[-1] in (ACCOMPANIMENT, RESIDUAL) else None


def for_scenario(available: Sequence[str], wanted: Sequence[str]) -> dict[str, list[str]]:
    """Map each wanted stem to its parts, which are the available stems that sum to it.

    The available stems sum to the mixture. The residual is the sum of all stems that are not
    wanted. A corpus may have a stem with the name of the residual (for example, if its stems are
    vocals, accompaniment and crowd). This stem is then one part of the residual. Raises
    `InputError` if a wanted stem has no parts.
    """
    residual = residual_of(wanted)
    parts = {}
    for stem in wanted:
        rest = [] if stem != residual else [part for part in available if part not in wanted]
        parts[stem] = [part for part in available if part == stem or part in rest]
        if not parts[stem]:
            raise InputError(
                f"{stem} cannot be scored: it is not among the stems {list(available)}"
            )
    return parts
