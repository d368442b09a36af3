"""Suggest known names in the error message about an unknown name."""

import difflib
from collections.abc import Iterable


def near(name: str, known: Iterable[str]) -> str:
    """The end of an error message about an unknown `name`: similar known names, or ""."""
    known = list(known)
    similar = [candidate for candidate in known if candidate.endswith(f".{name}")][:3]
    similar = similar or difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(similar)}?" if similar else ""
