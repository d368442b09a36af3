"""Choose the stems to write, and sum the others."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float32

from stemsplit.errors import InputError

StemBlock = Float32[np.ndarray, "stem channel time"]


def selection(
    present: Sequence[str], stems: Sequence[str] | None, two_stems: str | None
) -> dict[str, list[int]]:
    """Return, for each stem to write, the indices of the estimated stems that sum to it.

    `present` are the estimated stems. `stems` selects some of them. `two_stems` selects one of them
    and the sum of all others. If both are None, all stems are selected. Raises `InputError` for an
    unknown stem, and for `two_stems` with a single estimated stem.
    """
    numbers = {stem: number for number, stem in enumerate(present)}
    for stem in [*(stems or ()), *([two_stems] if two_stems is not None else [])]:
        if stem not in numbers:
            raise InputError(
                f"stem {stem!r}: this separator has no such stem; choose from {', '.join(present)}"
            )
    if two_stems is not None:
        if len(present) < 2:
            raise InputError(
                f"the separator estimates {two_stems} only, so there is no second stem"
            )
        others = [number for stem, number in numbers.items() if stem != two_stems]
        return {two_stems: [numbers[two_stems]], rest_of(present, two_stems): others}
    return {stem: [numbers[stem]] for stem in (present if stems is None else dict.fromkeys(stems))}


def rest_of(present: Sequence[str], stem: str) -> str:
    """Return the name for the sum of all present stems except `stem`."""
    others = [other for other in present if other != stem]
    if len(others) == 1:
        return others[0]
    return "accompaniment" if stem == "vocals" else f"no_{stem}"


def selected(
    blocks: Iterable[StemBlock], chosen: Mapping[str, Sequence[int]]
) -> Iterator[StemBlock]:
    """Yield the chosen stems of each block.

    `chosen` maps the name of each chosen stem to the indices of the stems to sum.
    """
    groups = list(map(list, chosen.values()))
    for block in blocks:
        if groups == [[stem] for stem in range(len(block))]:
            yield block
        else:
            yield np.stack([block[numbers].sum(axis=0) for numbers in groups])
