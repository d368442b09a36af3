"""Verify that a bundle is undamaged and still estimates the stems that are stored in it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stemsplit.errors import InputError
from stemsplit.separation.checkpoint import load
from stemsplit.separation.formats import bundle
from stemsplit.separation.formats.probe import probe_stems

TOLERANCE = 1e-4  # largest difference, relative to the peak of the stems


class Check(NamedTuple):
    name: str
    passed: bool
    detail: str


class Verification(NamedTuple):
    """The checks of a bundle in their order. `document` is None if the file cannot be read."""

    checks: list[Check]
    document: dict[str, Any] | None

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)


def verify(path: Path, allow: Sequence[str] = ()) -> Verification:
    """Verify a bundle. A failed check ends the verification. `allow` is passed to `load`."""
    try:
        content = bundle.read(path)
    except InputError as error:
        return Verification([Check("whole", False, str(error))], None)
    checks = [Check("whole", True, f"SHA-256 {content.document['sha256']}")]
    try:
        separator = load(path, allow)
    except InputError as error:
        return Verification([*checks, Check("loads", False, str(error))], content.document)
    checks.append(Check("loads", True, f"stems {', '.join(separator.stems)}"))
    try:
        stems = probe_stems(separator, content.mixture)
        if stems.shape != content.stems.shape:
            raise InputError(f"stems of shape {[*stems.shape]}, not {[*content.stems.shape]}")
        if not content.stems.isfinite().all():
            raise InputError("the stored stems are not finite (NaN or infinity)")
    except InputError as error:
        return Verification([*checks, Check("same output", False, str(error))], content.document)
    peak = float(content.stems.abs().max())
    difference = float((stems - content.stems).abs().max())
    checks.append(
        Check(
            "same output",
            difference <= TOLERANCE * peak,
            f"the largest difference is {difference:.2g}, at a peak of {peak:.2g} "
            f"(tolerance {TOLERANCE * peak:.2g})",
        )
    )
    return Verification(checks, content.document)
