"""A resumed run compares its songs with the songs it was trained on."""

import json
from pathlib import Path

import pytest

from stemsplit.data.trained_songs import (
    changed_at,
    check_songs,
    remember_songs,
    trained_contents,
)
from stemsplit.errors import InputError

SONGS = {"train/A": "a", "train/B": "b", "valid/C": "c"}


def test_same_songs_give_no_warning(tmp_path: Path) -> None:
    remember_songs(tmp_path, SONGS, 0)
    assert check_songs(tmp_path, dict(reversed(SONGS.items())), allow_change=False) is None
    remember_songs(tmp_path, SONGS, 10)
    assert changed_at(tmp_path) == []


@pytest.mark.parametrize(
    ("songs", "message"),
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
def test_changed_songs_are_named_and_refused(songs: dict, message: str, tmp_path: Path) -> None:
    remember_songs(tmp_path, SONGS, 0)
    with pytest.raises(InputError, match=f"{message}.*allow_changed_corpus=true") as refused:
        check_songs(tmp_path, songs, allow_change=False)
    assert str(tmp_path) in str(refused.value)
    warning = check_songs(tmp_path, songs, allow_change=True)
    assert message.rstrip(";") in str(warning)


def test_steps_of_changes_are_recorded(tmp_path: Path) -> None:
    fewer = {"train/A": "a"}
    remember_songs(tmp_path, SONGS, 0)
    remember_songs(tmp_path, fewer, 12)
    assert changed_at(tmp_path) == [12]
    assert check_songs(tmp_path, fewer, allow_change=False) is None
    with pytest.raises(InputError, match="added"):
        check_songs(tmp_path, SONGS, allow_change=False)
    # The run was killed before its next checkpoint: the steps with the changed songs are lost.
    remember_songs(tmp_path, SONGS, 12)
    assert changed_at(tmp_path) == []
    remember_songs(tmp_path, fewer, 0)  # a trial that starts again
    assert changed_at(tmp_path) == []
    assert check_songs(tmp_path, fewer, allow_change=False) is None


def test_run_of_older_version_is_resumed_with_a_warning(tmp_path: Path) -> None:
    warning = check_songs(tmp_path, SONGS, allow_change=False)
    assert "has no list of its training songs" in str(warning)


@pytest.mark.parametrize("content", ["", "[", "3", '[{"songs": {}}]'])
def test_damaged_record_raises_input_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "songs.json").write_text(content)
    with pytest.raises(InputError, match=r"songs\.json: is damaged; remove it"):
        check_songs(tmp_path, SONGS, allow_change=True)


def test_names_are_stored_as_plain_unicode(tmp_path: Path) -> None:
    remember_songs(tmp_path, {"train/歌": "x"}, 0)
    text = (tmp_path / "songs.json").read_text(encoding="utf-8")
    assert "train/歌" in text
    assert json.loads(text) == [{"from_step": 0, "songs": {"train/歌": "x"}}]


def test_songs_of_the_initial_weights_are_carried_over(tmp_path: Path) -> None:
    runs = [tmp_path / name for name in ("first", "second", "third")]
    weights = None
    for run, song in zip(runs, "xyz", strict=True):
        run.mkdir()
        (run / "config.yaml").touch()
        remember_songs(run, {"train/A": song, "valid/B": "b"}, 0, weights)
        weights = run / "best.ckpt"
    remember_songs(runs[2], {"train/A": "w"}, 12)
    assert trained_contents(runs[2] / "best.ckpt") == {"x", "y", "z", "w"}
    assert changed_at(runs[2]) == [12]
    assert check_songs(runs[2], {"train/A": "w"}, allow_change=False) is None
    (runs[2] / "config.yaml").unlink()  # songs.json of something else
    assert trained_contents(runs[2] / "best.ckpt") == set()
