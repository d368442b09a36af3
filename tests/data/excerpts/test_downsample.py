"""A reduced training set has the requested share of the songs, sampled in strata."""

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
    """Two corpora of 20 songs of 20 s; the vocals of song n are active for n % 20 s."""
    tracks = []
    for song in range(SONGS):
        vocals = np.zeros((1, 20 * RATE), np.float32)
        vocals[:, : song % 20 * RATE] = 0.1
        folder = tmp_path_factory.mktemp(f"song{song}")
        levels = np.stack([block_levels(stem, 20 * RATE, RATE) for stem in (vocals, vocals + 1)])
        np.save(folder / "levels.npy", levels)
        stems = ("vocals", "other")
        track = StoredTrack(f"{song}", "train", stems, folder, RATE, 1.0, corpus=song // 20)
        tracks.append(track)
    return tracks


def test_sounding_share_is_share_of_active_time(songs: list[StoredTrack]) -> None:
    assert sounding_share(songs[7], ["vocals"]) == pytest.approx(7 / 20)
    assert sounding_share(songs[7], ["vocals", "other"]) == pytest.approx((7 / 20 + 1) / 2)


def test_default_keeps_all_songs_and_excerpts(songs: list[StoredTrack]) -> None:
    assert Downsample().songs_of(songs, ["vocals"]) == songs
    assert Downsample().chunks_of(64) == 64


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_one_song_of_each_stratum_is_chosen(songs: list[StoredTrack], share: float) -> None:
    chosen = Downsample(songs=share).songs_of(songs, ["vocals"])
    assert Downsample(songs=share).songs_of(songs, ["vocals"]) == chosen
    numbers = [int(track.name) for track in chosen]
    assert numbers == sorted(numbers), "the order has changed"
    for corpus in (range(20), range(20, 40)):
        ranks = [number % 20 for number in numbers if number in corpus]
        assert len(ranks) == round(20 * share)
        stratum_length = 20 / len(ranks)
        assert [int(rank // stratum_length) for rank in ranks] == list(range(len(ranks)))


@pytest.mark.parametrize(
    ("sizes", "share"), [((3, 20), 0.1), ((20, 3), 0.1), ((18, 12), 0.05), ((10, 5), 0.5)]
)
def test_corpora_keep_their_share_of_excerpts(
    songs: list[StoredTrack], sizes: tuple[int, int], share: float
) -> None:
    first, second = sizes
    weight = 0.5 * first / second  # half as many excerpts from the second corpus
    combined = [*songs[:first], *(replace(t, weight=weight) for t in songs[20 : 20 + second])]
    chosen = Downsample(songs=share).songs_of(combined, ["vocals"])
    totals = [sum(t.weight for t in chosen if t.corpus == corpus) for corpus in (0, 1)]
    assert totals[1] / totals[0] == pytest.approx(0.5)
    assert all(track.weight == pytest.approx(1) for track in chosen if track.corpus == 0)


def test_at_least_one_song_and_excerpt_stay(songs: list[StoredTrack]) -> None:
    assert len(Downsample(songs=0.001).songs_of(songs[:20], ["vocals"])) == 1
    assert Downsample(chunks=0.001).chunks_of(64) == 1


@pytest.mark.parametrize(("share", "chunks"), [(0.25, 16), (0.1, 6), (0.99, 63)])
def test_share_of_excerpts_is_rounded(share: float, chunks: int) -> None:
    assert Downsample(chunks=share).chunks_of(64) == chunks


@pytest.mark.parametrize("way", ["chunks", "songs", "rate"])
@pytest.mark.parametrize("share", [0, -0.5, 1.5, float("nan")])
def test_value_outside_range_is_refused(way: str, share: float) -> None:
    with pytest.raises(InputError, match=rf"data\.downsample\.{way} is {share}, but must"):
        Downsample(**{way: share})


def test_scaled_value_must_be_an_integer() -> None:
    assert scaled(44100, 0.5) == 22050
    assert scaled(4096, 1.0) == 4096
    with pytest.raises(InputError, match=r"rate 0\.3 turns 4096 into 1228\.8"):
        scaled(4096, 0.3)


def test_choosing_songs_reads_levels_only(songs: list[StoredTrack]) -> None:
    """The songs of the fixture have no samples, so the other tests have not read any."""
    assert not Path(songs[0].folder / "samples.npy").exists()
