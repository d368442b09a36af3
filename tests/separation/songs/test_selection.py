"""Which stems are written, and their sums."""

import numpy as np
import pytest

from stemsplit.errors import InputError
from stemsplit.separation.songs.selection import selected, selection

FOUR = ("drums", "bass", "other", "vocals")
BLOCK = np.random.default_rng(0).uniform(-1, 1, (4, 2, 10)).astype(np.float32)


def stems_of(stems: list[str] | None = None, two_stems: str | None = None) -> dict[str, np.ndarray]:
    chosen = selection(FOUR, stems, two_stems)
    [block] = selected([BLOCK], chosen)
    return dict(zip(chosen, block, strict=True))


def test_all_stems_by_default() -> None:
    for stem, samples in stems_of().items():
        np.testing.assert_array_equal(samples, BLOCK[FOUR.index(stem)])
    assert tuple(stems_of()) == FOUR


def test_named_stems_in_their_order() -> None:
    stems = stems_of(["vocals", "drums", "vocals"])
    assert list(stems) == ["vocals", "drums"]
    np.testing.assert_array_equal(stems["drums"], BLOCK[0])


@pytest.mark.parametrize(("stem", "rest"), [("vocals", "accompaniment"), ("bass", "no_bass")])
def test_two_stems_sum_to_the_mixture(stem: str, rest: str) -> None:
    stems = stems_of(two_stems=stem)
    assert list(stems) == [stem, rest]
    np.testing.assert_array_equal(stems[stem], BLOCK[FOUR.index(stem)])
    np.testing.assert_allclose(sum(stems.values()), BLOCK.sum(axis=0), atol=1e-6)


def test_second_of_two_stems_keeps_its_name() -> None:
    assert selection(("drums", "residual"), None, "drums") == {"drums": [0], "residual": [1]}


@pytest.mark.parametrize(("stems", "two_stems"), [(["vocals", "piano"], None), (None, "piano")])
def test_unknown_stem_is_refused(stems: list[str] | None, two_stems: str | None) -> None:
    with pytest.raises(InputError, match=r"'piano'.*choose from drums, bass, other, vocals"):
        selection(FOUR, stems, two_stems)


def test_separator_of_one_stem_has_no_second_stem() -> None:
    with pytest.raises(InputError, match="no second stem"):
        selection(("vocals",), None, "vocals")
