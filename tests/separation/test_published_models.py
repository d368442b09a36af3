"""Published models by name: what is loaded, combined and recognised."""

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from weights_server import HDEMUCS, SOURCES, TARGETS, Server, published, write_catalogue

import stemsplit
from stemsplit import combine
from stemsplit.errors import InputError
from stemsplit.separation.origins import origins
from stemsplit.separation.separator import Separator

# With short windows some mel filters are empty; open-unmix does not use them.
pytestmark = pytest.mark.filterwarnings("ignore:Empty filters")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.chdir(tmp_path)
    with published(tmp_path, monkeypatch) as server:
        yield server


def test_four_networks_are_one_separator_with_a_joint_filter(server: Server) -> None:
    separator = stemsplit.load("umxhq")
    assert isinstance(separator, Separator)
    assert separator.stems == TARGETS
    assert separator.wiener_iterations == 1
    files = [Path(f"cache/models/umxhq/{name}") for name in server.files if name.endswith(".pth")]
    song = torch.rand(2, 4000) - 0.5
    by_files = stemsplit.load(files).separate(song, 44100)
    for stem, samples in separator.separate(song, 44100).items():
        assert torch.equal(samples, by_files[stem])


def test_hybrid_demucs_has_the_stems_of_its_entry(server: Server) -> None:
    separator = stemsplit.load("hdemucs_musdb_plus")
    assert separator.stems == SOURCES
    assert isinstance(separator, Separator)
    assert separator.wiener_iterations == 0


def test_own_entry_names_stems_and_rate(server: Server, tmp_path: Path) -> None:
    entry = {
        "stems": ["a", "b", "c", "d"],
        "sample_rate": 22050,
        "files": [server.entry(HDEMUCS)],
    }
    write_catalogue(tmp_path / "models.toml", {"mine": entry})
    separator = stemsplit.load("mine")
    assert separator.stems[:4] == ("a", "b", "c", "d")
    assert separator.sample_rate == 22050


def test_several_models_are_an_ensemble(server: Server) -> None:
    ensemble = stemsplit.load(["umxhq", "hdemucs_musdb_plus"])
    assert set(ensemble.stems) == set(TARGETS)


def test_combine_takes_names_and_remembers_them(server: Server, tmp_path: Path) -> None:
    combine.main(["hdemucs_musdb_plus", "--output", "copy.ckpt"])
    combine.main(["./copy.ckpt", "--output", "copy of a copy.ckpt"])
    assert stemsplit.load("copy of a copy.ckpt").stems == SOURCES
    weights = tmp_path / "another name.pt"
    weights.write_bytes(server.files[HDEMUCS])
    for source in ("hdemucs_musdb_plus", "copy.ckpt", "copy of a copy.ckpt", weights):
        assert origins(source) == ["hdemucs_musdb_plus"]
    assert origins("umxhq") == ["umxhq"]
    torch.save({"fc1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    assert origins(tmp_path / "other.pth") == []


def test_unknown_name_suggests_the_nearest(server: Server) -> None:
    with pytest.raises(InputError) as refused:
        stemsplit.load("umxqh")
    assert str(refused.value) == (
        "umxqh: neither a checkpoint nor a run's folder with best.ckpt or last.ckpt; did you mean "
        "umxhq or umx or umxl?"
    )


def test_folder_of_the_name_of_a_model_is_found_by_its_path(server: Server) -> None:
    Path("umxhq").mkdir()
    with pytest.raises(InputError, match=r"umxhq: neither a checkpoint nor .*last\.ckpt$"):
        stemsplit.load("./umxhq")
    assert not server.requests


class Malicious:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("layout", ["torch", "pickle"])
def test_malicious_weights_run_no_code(server: Server, tmp_path: Path, layout: str) -> None:
    harm = tmp_path / "harm"
    if layout == "torch":
        torch.save({"fc1.weight": Malicious(harm)}, tmp_path / "weights")
        content = (tmp_path / "weights").read_bytes()
    else:
        content = pickle.dumps(Malicious(harm))
    server.files[HDEMUCS] = content
    entry = {"stems": ["vocals"], "files": [server.entry(HDEMUCS)]}
    write_catalogue(tmp_path / "models.toml", {"mine": entry})
    with pytest.raises(InputError, match=f"{HDEMUCS}: not a checkpoint"):
        stemsplit.load("mine")
    assert not harm.exists()
    if layout == "torch":
        torch.load(tmp_path / "weights", weights_only=False)
    else:
        pickle.loads(content)
    assert harm.exists()  # another reader would have run the code
