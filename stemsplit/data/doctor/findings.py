"""A finding about a corpus: a fault or a note."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """A `fault` must be fixed, a `note` is good to know. `song` is ``SUBSET/NAME``, or empty."""

    severity: Literal["fault", "note"]
    check: str
    song: str
    text: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.song, self.check, self.text) if part)
