"""A resumed run notices that its songs are no longer those it was trained on."""

import json
from pathlib import Path

import pytest

from stemsplit.data.trained_songs import changed_at, check_songs, remember_songs
from stemsplit.errors import InputError

SONGS = {"train/A": "a", "train/B": "b", "valid/C": "c"}


def test_the_same_songs_need_no_word(tmp_path: Path) -> None:
    remember_songs(tmp_path, SONGS, 0)
    assert check_songs(tmp_path, dict(reversed(SONGS.items())), allow_change=False) is None
    remember_songs(tmp_path, SONGS, 10)
    assert changed_at(tmp_path) == []


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"train/A": "a", "valid/C": "c"}, "removed: train/B;"),
        (SONGS | {"train/D": "d"}, "added: train/D;"),
        (SONGS | {"valid/C": "other"}, "changed: valid/C;"),
        (
            {"train/A": "x", "train/E": "b", "valid/C": "c"},
            "added: train/E; removed: train/B; changed: train/A;",
        ),
        (
            SONGS | {f"train/{n}": "n" for n in range(5)},
            "added: train/0, train/1, train/2 and 2 mo",
        ),
    ],
)
def test_other_songs_are_named_and_refused(now: dict, said: str, tmp_path: Path) -> None:
    remember_songs(tmp_path, SONGS, 0)
    with pytest.raises(InputError, match=f"{said}.*allow_changed_corpus=true") as refused:
        check_songs(tmp_path, now, allow_change=False)
    assert str(tmp_path) in str(refused.value)
    allowed = check_songs(tmp_path, now, allow_change=True)
    assert said.rstrip(";") in str(allowed)


def test_every_change_keeps_its_step(tmp_path: Path) -> None:
    fewer = {"train/A": "a"}
    remember_songs(tmp_path, SONGS, 0)
    remember_songs(tmp_path, fewer, 12)
    assert changed_at(tmp_path) == [12]
    assert check_songs(tmp_path, fewer, allow_change=False) is None
    with pytest.raises(InputError, match="added"):
        check_songs(tmp_path, SONGS, allow_change=False)
    # A kill before the next checkpoint: the steps on the changed songs were lost.
    remember_songs(tmp_path, SONGS, 12)
    assert changed_at(tmp_path) == []
    remember_songs(tmp_path, fewer, 0)  # a trial that starts over
    assert changed_at(tmp_path) == []
    assert check_songs(tmp_path, fewer, allow_change=False) is None


def test_a_run_of_an_older_version_is_resumed_with_a_note(tmp_path: Path) -> None:
    note = check_songs(tmp_path, SONGS, allow_change=False)
    assert "does not say which songs it was trained on" in str(note)


@pytest.mark.parametrize("content", ["", "[", "3", '[{"songs": {}}]'])
def test_a_damaged_note_is_no_traceback(content: str, tmp_path: Path) -> None:
    (tmp_path / "songs.json").write_text(content)
    with pytest.raises(InputError, match=r"songs\.json: is damaged; remove it"):
        check_songs(tmp_path, SONGS, allow_change=True)


def test_names_are_legible(tmp_path: Path) -> None:
    remember_songs(tmp_path, {"train/歌": "x"}, 0)
    text = (tmp_path / "songs.json").read_text(encoding="utf-8")
    assert "train/歌" in text
    assert json.loads(text) == [{"from_step": 0, "songs": {"train/歌": "x"}}]
