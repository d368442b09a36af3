"""Which songs failed."""

from pathlib import Path

import pytest

from stemsplit.errors import InputError
from stemsplit.separation.songs.jobs import Outcome
from stemsplit.separation.songs.queue import exit_if_failed


def test_only_the_first_failed_songs_are_named() -> None:
    outcomes = [Outcome(Path(f"{number}.wav"), None) for number in range(1000)]
    with pytest.raises(InputError) as error:
        exit_if_failed([*outcomes, Outcome(Path("good.wav"), 3.0)], [Path("absent.wav")])
    assert str(error.value) == (
        "1001 of 1002 songs could not be separated: absent.wav, 0.wav, 1.wav, 2.wav, 3.wav "
        "and 996 more (see above)"
    )
