"""`counted` joins numbers with nouns."""

import pytest

from stemsplit.terminal.counts import counted


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 songs"), (1, "1 song"), (2, "2 songs"), (1200, "1,200 songs")]
)
def test_only_one_is_singular(number: int, text: str) -> None:
    assert counted(number, "song") == text
