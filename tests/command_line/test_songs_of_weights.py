"""The training songs of a published model or of a run are known, those of a copied file are not."""

from pathlib import Path

import pytest

from stemsplit.command_line import fine_tuning
from stemsplit.command_line.fine_tuning import has_known_songs
from stemsplit.data.trained_songs import remember_songs, trained_contents


def test_songs_are_known_for_published_models_and_for_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "best.ckpt"
    weights.touch()
    assert has_known_songs("umxhq")
    assert not has_known_songs(weights)
    with monkeypatch.context() as patch:
        patch.setattr(fine_tuning, "published_as", lambda path: "umxhq")
        assert has_known_songs(weights)
    (tmp_path / "config.yaml").touch()
    remember_songs(tmp_path, {"train/A": "x"}, 0)
    assert has_known_songs(weights)


def test_songs_stay_unknown_in_the_run_that_starts_with_the_weights(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    remember_songs(tmp_path, {"train/A": "x"}, 0, weights=tmp_path / "elsewhere" / "best.ckpt")
    weights = tmp_path / "best.ckpt"
    weights.touch()
    assert trained_contents(weights) == {"x"}
    assert not has_known_songs(weights)
