"""The index of a run's excerpts keeps what it should, and the files follow."""

from pathlib import Path

import numpy as np
import pytest

from stemsplit.training.callbacks.excerpt_index import (
    Excerpt,
    all_estimates,
    new_index,
    read_index,
    remove_unlisted,
    thin_out,
    without_estimates,
    write_index,
)


def test_only_the_first_of_every_spacing_and_the_present_one_are_kept(tmp_path: Path) -> None:
    song = np.zeros((1, 8000), np.float32)
    index = new_index([Excerpt("A Song", 1.23456, song, {"vocals": song})], 8000)
    start = without_estimates(index)
    assert (index[0]["start_seconds"], index[0]["seconds"]) == (1.235, 1.0)
    (tmp_path / "0").mkdir()
    listed = index[0]["stems"]["vocals"]["estimates"]
    for epoch in (0, 1, 4, 5, 9):
        names = {
            kind: f"0/vocals-epoch-{epoch:04}{suffix}"
            for kind, suffix in (("audio", ".mp3"), ("picture", ".png"))
        }
        listed.append({"epoch": epoch, **names})
        for name in names.values():
            (tmp_path / name).touch()
    thin_out(index, epoch=9, spacing=4)
    assert [estimate["epoch"] for estimate in all_estimates(index)] == [0, 4, 9]
    assert without_estimates(index) == start
    write_index(tmp_path, index)
    assert read_index(tmp_path) == index
    remove_unlisted(tmp_path, index)
    kept = sorted(file.name for file in (tmp_path / "0").iterdir())
    assert kept == [
        f"vocals-epoch-{epoch:04}{suffix}" for epoch in (0, 4, 9) for suffix in (".mp3", ".png")
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null"])
def test_a_damaged_index_is_empty(text: str, tmp_path: Path) -> None:
    assert read_index(tmp_path) == []
    (tmp_path / "index.json").write_text(text)
    assert read_index(tmp_path) == []
