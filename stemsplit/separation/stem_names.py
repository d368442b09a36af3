"""Check the names of stems, which become parts of file names."""

from collections.abc import Sequence

from stemsplit.errors import InputError

LONGEST_STEM = 100  # bytes


def check_stem_names(stems: Sequence[str]) -> None:
    """Raise `InputError` unless the stems have different names that can be names of files."""
    if not all(isinstance(stem, str) for stem in stems):
        raise InputError(f"the stems {stems!r} must be a list of names")
    for stem in stems:
        if not stem.isprintable() or stem[:1] in ("", ".", "-") or {"/", "\\"} & set(stem):
            raise InputError(
                f"stem {stem!r} must be a valid file name, without control characters and without "
                "a dot or a dash at its start"
            )
        if len(stem.encode()) > LONGEST_STEM:
            raise InputError(f"stem {stem[:20]!r}… has more than {LONGEST_STEM} bytes")
    # Some file systems ignore case, so names that differ only in case would be the same file.
    if len({stem.casefold() for stem in stems}) < len(stems):
        raise InputError(
            f"the stems {', '.join(stems)}: two of them have the same name, or names that differ "
            "only in case; choose other names"
        )
