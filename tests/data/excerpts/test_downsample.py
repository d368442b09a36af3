"""A smaller training set: the share that was asked for, of songs of every kind."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stemsplit.data.excerpts.downsample import Downsample, scaled, sounding_share
from stemsplit.data.store.activity import block_levels
from stemsplit.data.store.stored import StoredTrack
from stemsplit.errors import InputError

RATE = 1000
SONGS = 40


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> list[StoredTrack]:
    """In song n the vocals sound for n % 20 of 20 seconds; the second half is another corpus."""
    tracks = []
    for song in range(SONGS):
        vocals = np.zeros((1, 20 * RATE), np.float32)
        vocals[:, : song % 20 * RATE] = 0.1
        folder = tmp_path_factory.mktemp(f"song{song}")
        levels = np.stack([block_levels(stem, 20 * RATE, RATE) for stem in (vocals, vocals + 1)])
        np.save(folder / "levels.npy", levels)
        stems = ("vocals", "other")
        corpus = song // 20
        facts = {"weight": 1.0, "corpus": corpus}  # of equal weight, and yet of two corpora
        tracks.append(StoredTrack(f"{song}", "train", stems, folder, RATE, 1.0, **facts))
    return tracks


def test_how_much_of_a_song_a_target_sounds_in(songs: list[StoredTrack]) -> None:
    assert sounding_share(songs[7], ["vocals"]) == pytest.approx(7 / 20)
    assert sounding_share(songs[7], ["vocals", "other"]) == pytest.approx((7 / 20 + 1) / 2)


def test_all_is_all(songs: list[StoredTrack]) -> None:
    assert Downsample().songs_of(songs, ["vocals"]) == songs
    assert Downsample().chunks_of(64) == 64


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_the_songs_are_of_every_kind(songs: list[StoredTrack], share: float) -> None:
    chosen = Downsample(songs=share).songs_of(songs, ["vocals"])
    assert Downsample(songs=share).songs_of(songs, ["vocals"]) == chosen
    numbers = [int(track.name) for track in chosen]
    assert numbers == sorted(numbers), "in the order in which they came"
    for corpus in (range(20), range(20, 40)):
        found = [number % 20 for number in numbers if number in corpus]
        assert len(found) == round(20 * share)
        # One of each stratum: of 20 songs in their order, one of every so many.
        length = 20 / len(found)
        assert [int(number // length) for number in found] == list(range(len(found)))


@pytest.mark.parametrize(
    ("sizes", "share"), [((3, 20), 0.1), ((20, 3), 0.1), ((18, 12), 0.05), ((10, 5), 0.5)]
)
def test_every_corpus_keeps_its_share_of_the_excerpts(
    songs: list[StoredTrack], sizes: tuple[int, int], share: float
) -> None:
    first, second = sizes
    weight = 0.5 * first / second  # one excerpt of the second for two of the first
    combined = [*songs[:first], *(replace(t, weight=weight) for t in songs[20 : 20 + second])]
    chosen = Downsample(songs=share).songs_of(combined, ["vocals"])
    totals = [sum(t.weight for t in chosen if t.corpus == corpus) for corpus in (0, 1)]
    assert totals[1] / totals[0] == pytest.approx(0.5)
    assert all(track.weight == pytest.approx(1) for track in chosen if track.corpus == 0)


def test_one_song_is_left(songs: list[StoredTrack]) -> None:
    assert len(Downsample(songs=0.001).songs_of(songs[:20], ["vocals"])) == 1
    assert Downsample(chunks=0.001).chunks_of(64) == 1


@pytest.mark.parametrize(("share", "chunks"), [(0.25, 16), (0.1, 6), (0.99, 63)])
def test_a_share_of_the_excerpts(share: float, chunks: int) -> None:
    assert Downsample(chunks=share).chunks_of(64) == chunks


@pytest.mark.parametrize("way", ["chunks", "songs", "rate"])
@pytest.mark.parametrize("share", [0, -0.5, 1.5, float("nan")])
def test_what_is_no_share_is_refused(way: str, share: float) -> None:
    with pytest.raises(InputError, match=rf"data\.downsample\.{way} {share} must be a share"):
        Downsample(**{way: share})


def test_what_is_scaled_stays_whole() -> None:
    assert scaled(44100, 0.5) == 22050
    assert scaled(4096, 1.0) == 4096
    with pytest.raises(InputError, match=r"rate 0\.3 leaves 1228\.8 of 4096"):
        scaled(4096, 0.3)


def test_the_folder_is_read_only_by_its_map(songs: list[StoredTrack]) -> None:
    """No sample is read to choose songs: the fixture has none."""
    assert not Path(songs[0].folder / "samples.npy").exists()
