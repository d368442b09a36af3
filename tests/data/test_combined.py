"""Several corpora: training songs of all, in shares as their weights; the first one validates."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemsplit.data.combined import Corpus, combined
from stemsplit.data.corpora.folders import folder
from stemsplit.data.datamodule import StemDataModule
from stemsplit.errors import InputError

RATE = 8000
FIRST = ["train/A", "train/B", "valid/C", "test/D"]
OTHER = ["train/E", "train/F", "train/G", "train/H", "valid/I", "test/J"]


def written(root: Path, songs: list[str], stems: tuple[str, ...] = ("drums", "vocals")) -> Path:
    for song in songs:
        (root / song).mkdir(parents=True)
        for stem in stems:
            noise = 0.1 * np.random.default_rng(ord(song[-1])).standard_normal(RATE)
            soundfile.write(root / song / f"{stem}.wav", noise, RATE)
    return root


@pytest.fixture
def first(tmp_path: Path) -> Path:
    return written(tmp_path / "first", FIRST)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return written(tmp_path / "other", OTHER)


def data_module(first: Path, cache: Path, **also: object) -> StemDataModule:
    return StemDataModule(
        folder,
        str(first),
        stems=None,
        targets=["vocals"],
        sample_rate=RATE,
        channels=1,
        seed=0,
        chunk_seconds=0.25,
        chunks_per_track=100,
        validation_chunks=1,
        cache=str(cache),
        remix=False,
        also=[{"lister": folder, **also}],
    )


@pytest.mark.parametrize("weight", [0.25, 1.0, 2.0, 3.0])
def test_a_corpus_has_the_share_of_its_weight(
    weight: float, first: Path, other: Path, cache: Path
) -> None:
    data = data_module(first, cache, root=str(other), weight=weight)
    data.setup("fit")
    keys = [key for batch in data.train_dataloader() for key in batch.keys]
    names = [text.split()[0] for text in data.describe(keys)]
    assert set(names) == set("ABEFGH")
    share = sum(name in "EFGH" for name in names) / len(names)
    assert share == pytest.approx(weight / (1 + weight), abs=0.06)


def test_only_the_first_corpus_is_held_out(first: Path, other: Path) -> None:
    tracks = combined(folder(first), [Corpus(folder, str(other), 2.0)])
    assert {f"{track.subset}/{track.name}" for track in tracks} == {*FIRST, *OTHER[:4]}
    assert [track.weight for track in tracks if track.subset == "train"] == [1, 1, 1, 1, 1, 1]
    assert combined(folder(first), []) == folder(first)


@pytest.mark.parametrize("weight", [0, -1.0, float("inf"), float("nan")])
def test_a_weight_that_is_none(weight: float, first: Path) -> None:
    with pytest.raises(InputError, match=r"data\.also: weight .* must be positive"):
        Corpus(folder, str(first), weight)


def test_songs_that_are_held_out_are_not_trained_on(first: Path, tmp_path: Path) -> None:
    other = written(tmp_path / "other", ["train/D"])
    with pytest.raises(InputError, match=r"'D' is a test song of data\.root"):
        combined(folder(first), [Corpus(folder, str(other))])


def test_every_corpus_must_have_the_stems(first: Path, tmp_path: Path, cache: Path) -> None:
    other = written(tmp_path / "other", ["train/E"], ("vocals", "rest"))
    with pytest.raises(InputError, match=r"E/rest\.wav: no stem \['drums'\]; it has"):
        data_module(first, cache, root=str(other)).tracks("train")


def test_a_corpus_without_training_songs(first: Path, tmp_path: Path) -> None:
    other = written(tmp_path / "other", ["test/E"])
    with pytest.raises(InputError, match="other: no training songs"):
        combined(folder(first), [Corpus(folder, str(other))])
    with pytest.raises(InputError, match=r"training songs of data\.root, which has none"):
        combined(folder(other), [Corpus(folder, str(first))])
