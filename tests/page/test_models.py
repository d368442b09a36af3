"""The models that the page offers."""

from pathlib import Path

import pytest

import stemsplit
from stemsplit.errors import InputError
from stemsplit.page.models import Models, default_models, named
from stemsplit.separation.ensemble import Ensemble
from stemsplit.separation.published import download
from stemsplit.separation.separator import Separator


@pytest.fixture(autouse=True)
def no_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "cache_folder", lambda: tmp_path / "cache")


def test_models_have_the_ends_of_their_paths_as_names(checkpoint: Path) -> None:
    assert named([str(checkpoint), "umxhq"]) == {"tiny": checkpoint, "umxhq": "umxhq"}


def test_missing_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a checkpoint nor"):
        named([str(tmp_path / "absent")])


def test_models_with_one_name_are_an_error(checkpoint: Path) -> None:
    with pytest.raises(InputError, match="have the same name; rename one"):
        named([str(checkpoint), str(checkpoint)])


def test_licence_and_size_are_shown_before_a_download() -> None:
    assert default_models() == ["umxhq"]
    notes = Models(named(default_models()), lambda source: pytest.fail("nothing is loaded")).notes()
    assert "licence: MIT" in notes["umxhq"]
    assert "about 142.6 MB will be downloaded at the first use" in notes["umxhq"]


def test_models_are_loaded_once(checkpoint: Path) -> None:
    loaded = []

    def load(source: str | Path) -> Separator | Ensemble:
        loaded.append(source)
        return stemsplit.load(checkpoint)

    models = Models({"a": checkpoint, "b": "umxhq"}, load)
    for name in "aabab":
        models.separator(name)
    assert loaded == [checkpoint, "umxhq"]
