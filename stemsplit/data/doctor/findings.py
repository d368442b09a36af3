"""A finding about a corpus: a fault or a note."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["fault", "note"]


@dataclass(frozen=True)
class Finding:
    """One finding of the doctor.

    A `fault` must be fixed; a `note` is for information. `check` names the check that yielded the
    finding. `song` is ``SUBSET/NAME``, or empty for a finding about the whole corpus.
    """

    severity: Severity
    check: str
    song: str
    text: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.song, self.check, self.text) if part)
