"""Supplementary corpora: shares of excerpts follow the weights; held-out songs are refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemsplit.data.corpora.folders import folder
from stemsplit.data.corpus import Corpus
from stemsplit.data.datamodule import StemDataModule
from stemsplit.data.supplements import Supplement, added
from stemsplit.data.tracks import Track
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
    supplement = Supplement(folder, **also)
    return StemDataModule(
        Corpus(folder, str(first), None, RATE, 1, str(cache), also=[supplement]),
        targets=["vocals"],
        seed=0,
        chunk_seconds=0.25,
        chunks_per_track=100,
        validation_chunks=1,
        remix=False,
    )


@pytest.mark.parametrize("weight", [0.25, 1.0, 2.0, 3.0])
def test_weight_sets_share_of_excerpts(
    weight: float, first: Path, other: Path, cache: Path
) -> None:
    data = data_module(first, cache, root=str(other), weight=weight)
    data.setup("fit")
    keys = [key for batch in data.train_dataloader() for key in batch.keys]
    names = [text.split()[0] for text in data.describe(keys)]
    assert set(names) == set("ABEFGH")
    share = sum(name in "EFGH" for name in names) / len(names)
    assert share == pytest.approx(weight / (1 + weight), abs=0.06)


def test_supplement_adds_training_songs_only(first: Path, other: Path) -> None:
    tracks = added(folder(first), [Supplement(folder, str(other), 2.0)])
    assert [f"{track.subset}/{track.name}" for track in tracks] == OTHER[:4]
    assert [(track.weight, track.corpus) for track in tracks] == [(1, 1)] * 4
    assert added(folder(first), []) == []


def test_missing_folder_names_the_setting(first: Path) -> None:
    with pytest.raises(InputError, match=r"data\.also: .*nowhere is not a folder"):
        added(folder(first), [Supplement(folder, "/nowhere")])


def test_lister_that_fails_names_the_setting(first: Path, cache: Path) -> None:
    def wrong_type(root: Path) -> list[Track]:
        raise TypeError("slice indices must be integers")

    with pytest.raises(InputError, match=r"data\.also: cannot list the songs: slice indices"):
        added(folder(first), [Supplement(wrong_type, str(first))])
    with pytest.raises(InputError, match=r"data\.lister: cannot list the songs: slice indices"):
        Corpus(wrong_type, str(first), None, RATE, 1, str(cache)).tracks("train")


@pytest.mark.parametrize("weight", [0, -1.0, float("inf"), float("nan")])
def test_unusable_weight_is_refused(weight: float, first: Path) -> None:
    with pytest.raises(InputError, match=r"data\.also: weight .* must be a positive number"):
        Supplement(folder, str(first), weight)


def test_song_held_out_by_main_corpus_is_refused(first: Path, tmp_path: Path) -> None:
    other = written(tmp_path / "other", ["train/D"])
    with pytest.raises(InputError, match=r"'D' is in the subset test of data\.root"):
        added(folder(first), [Supplement(folder, str(other))])


def test_supplement_without_stem_is_refused(first: Path, tmp_path: Path, cache: Path) -> None:
    other = written(tmp_path / "other", ["train/E"], ("vocals", "rest"))
    with pytest.raises(InputError, match=r"E/rest\.wav: no stem \['drums'\]; it has"):
        data_module(first, cache, root=str(other)).corpus.tracks("train")


def test_corpus_without_training_songs_is_refused(first: Path, tmp_path: Path) -> None:
    other = written(tmp_path / "other", ["test/E"])
    with pytest.raises(InputError, match="other: no training songs"):
        added(folder(first), [Supplement(folder, str(other))])
    with pytest.raises(InputError, match=r"data\.root has no training songs, but data\.also"):
        added(folder(other), [Supplement(folder, str(first))])


def test_copy_of_a_test_song_is_recognised_in_any_order_of_its_stems(
    first: Path, tmp_path: Path, cache: Path
) -> None:
    def reversed_folder(root: Path) -> list[Track]:
        return [replace(track, stems=dict(reversed(track.stems.items()))) for track in folder(root)]

    shutil.copytree(first / "test", tmp_path / "other" / "train" / "copies")
    copies = tmp_path / "other" / "train" / "copies"
    for song in list(copies.iterdir()):
        song.rename(copies.parent / f"copy of {song.name}")
    copies.rmdir()
    supplement = Supplement(reversed_folder, str(tmp_path / "other"))
    corpus = Corpus(folder, str(first), None, RATE, 1, str(cache), also=[supplement])
    with pytest.raises(InputError, match=r"copy of"):
        corpus.tracks("train")
