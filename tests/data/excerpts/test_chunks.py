"""Excerpts: a function of their key alone, and of the songs and places that they should be."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stemsplit.data.excerpts import chunks
from stemsplit.data.excerpts.chunks import Chunk, FixedChunks, RandomChunks
from stemsplit.data.store.activity import block_levels
from stemsplit.data.store.stored import StoredTrack
from stemsplit.errors import InputError

STEMS = ("drums", "bass", "other", "vocals")
LENGTHS = (900, 1100, 1300, 1500)
CHUNK = 400


def one(chunks: RandomChunks | FixedChunks, key: object) -> Chunk:
    """The only excerpt of a batch of one, its stems `(stem, channel, time)`."""
    chunk = chunks.__getitems__([key])
    return chunk._replace(stems=chunk.waveforms()[0])


def origin(chunk: Chunk) -> list[tuple[int, int, int]]:
    """Song, stem and first sample of each row of a chunk."""
    return [
        (int(first) // 10 - 1, int(first) % 10, round(first % 1 * 10000))
        for first in chunk.stems[:, 0, 0].tolist()
    ]


def drawn(chunks: RandomChunks, positions: int, epoch: int = 0) -> list[Chunk]:
    return [one(chunks, (epoch, position)) for position in range(positions)]


@pytest.mark.parametrize("remix", [False, True])
def test_an_excerpt_is_a_function_of_its_key(tracks: list[StoredTrack], remix: bool) -> None:
    first = RandomChunks(tracks, STEMS, CHUNK, seed=3, remix=remix)
    keys = [(epoch, position) for epoch in (0, 1, 7) for position in range(10)]
    chunks = {key: one(first, key).stems for key in keys}
    again = RandomChunks(tracks, STEMS, CHUNK, seed=3, remix=remix)
    for key in reversed(keys):
        assert one(again, key).keys == [key]
        assert torch.equal(one(again, key).stems, chunks[key])
    assert len({chunk.numpy().tobytes() for chunk in chunks.values()}) == len(keys)
    other = RandomChunks(tracks, STEMS, CHUNK, seed=4, remix=remix)
    assert not any(torch.equal(one(other, key).stems, chunks[key]) for key in keys)


@pytest.mark.parametrize("remix", [False, True])
def test_every_stem_is_drawn_by_the_weights_of_its_songs(
    tracks: list[StoredTrack], remix: bool
) -> None:
    weighted = [replace(track, weight=1.0 + song) for song, track in enumerate(tracks)]
    chunks = RandomChunks(weighted, STEMS, CHUNK, seed=0, remix=remix)
    origins = [origin(chunk) for chunk in drawn(chunks, 2000)]
    for stem in range(len(STEMS)):
        found = Counter(rows[stem][0] for rows in origins)
        for song in range(4):
            assert found[song] / 2000 == pytest.approx((1 + song) / 10, abs=0.03)


def test_weights_that_are_equal_count_for_nothing(tracks: list[StoredTrack]) -> None:
    weighted = [replace(track, weight=0.5) for track in tracks]
    pairs = [RandomChunks(some, STEMS, CHUNK, seed=0, remix=True) for some in (tracks, weighted)]
    assert all(
        torch.equal(one(pairs[0], (1, p)).stems, one(pairs[1], (1, p)).stems) for p in range(10)
    )


def test_without_remix_all_stems_are_of_one_excerpt(tracks: list[StoredTrack]) -> None:
    chunks = RandomChunks(tracks, STEMS, CHUNK, seed=0, remix=False)
    for position, chunk in enumerate(drawn(chunks, 20)):
        places = origin(chunk)
        assert [stem for _, stem, _ in places] == [0, 1, 2, 3]
        [(song, start)] = {(song, start) for song, _, start in places}
        assert song == position % len(tracks)
        mixture = tracks[song].mixture()[:, start : start + CHUNK]
        np.testing.assert_allclose(chunk.stems.sum(0), mixture, rtol=1e-6)


def test_remix_takes_stems_of_different_songs(tracks: list[StoredTrack]) -> None:
    chunks = RandomChunks(tracks, STEMS, CHUNK, seed=0, remix=True)
    origins = [origin(chunk) for chunk in drawn(chunks, 400)]
    for position, places in enumerate(origins):
        assert [stem for _, stem, _ in places] == [0, 1, 2, 3]
        assert places[0][0] == position % len(tracks)
    for row in range(4):  # every stem of every song is heard equally often, near enough
        counts = Counter(places[row][0] for places in origins)
        assert all(60 < counts[song] < 140 for song in range(len(tracks)))
    for row in range(1, 4):  # and the songs, as well as the places, do not go together
        assert 0.15 < np.mean([places[row][0] == places[0][0] for places in origins]) < 0.35
        assert np.mean([places[row][2] == places[0][2] for places in origins]) < 0.02


def test_excerpts_are_stretches_of_the_song(tracks: list[StoredTrack]) -> None:
    chunks = RandomChunks(tracks, STEMS, CHUNK, seed=0, remix=True)
    for chunk in drawn(chunks, 50):
        for row, (song, stem, start) in zip(chunk.stems, origin(chunk), strict=True):
            expected = tracks[song].read(STEMS[stem], start, CHUNK)
            np.testing.assert_array_equal(row, expected)
            assert start + CHUNK <= LENGTHS[song]


def test_every_place_is_drawn_to_the_last(tracks: list[StoredTrack]) -> None:
    chunks = RandomChunks(tracks[:1], STEMS, LENGTHS[0] - 2, seed=0, remix=False)
    starts = Counter(origin(chunk)[0][2] for chunk in drawn(chunks, 60))
    assert set(starts) == {0, 1, 2}
    assert min(starts.values()) > 8


@pytest.mark.parametrize("remix", [False, True])
def test_a_shorter_song_ends_in_silence(tracks: list[StoredTrack], remix: bool) -> None:
    chunks = RandomChunks(tracks, STEMS, 2000, seed=0, remix=remix)
    for chunk in drawn(chunks, 8):
        assert chunk.stems.shape == (4, 2, 2000)
        for row, (song, stem, start) in zip(chunk.stems, origin(chunk), strict=True):
            assert start == 0
            np.testing.assert_array_equal(row[:, : LENGTHS[song]], tracks[song].read(STEMS[stem]))
            assert not row[:, LENGTHS[song] :].any()


def test_stems_come_in_the_order_asked_for(tracks: list[StoredTrack]) -> None:
    chunks = RandomChunks(tracks, ("vocals", "drums"), CHUNK, seed=0, remix=False)
    assert [stem for _, stem, _ in origin(one(chunks, (0, 0)))] == [3, 0]


def test_validation_excerpts_never_change(tracks: list[StoredTrack]) -> None:
    first, again = (FixedChunks(tracks, STEMS, CHUNK, per_track=3) for _ in range(2))
    assert len(first) == 12
    for place in range(12):
        assert one(first, place).keys == one(again, place).keys
        assert torch.equal(one(first, place).stems, one(again, place).stems)


@pytest.mark.parametrize("per_track", [1, 3, 5])
def test_validation_excerpts_lie_evenly(tracks: list[StoredTrack], per_track: int) -> None:
    chunks = FixedChunks(tracks, STEMS, CHUNK, per_track)
    starts: dict[int, list[int]] = {song: [] for song in range(len(tracks))}
    for place in range(len(chunks)):
        chunk = one(chunks, place)
        assert chunk.stems.shape == (4, 2, CHUNK)
        [(song, start)] = {(song, start) for song, _, start in origin(chunk)}
        assert chunk.keys == [(song, start)]
        starts[song].append(start)
    for song, places in starts.items():
        assert len(places) == per_track
        gaps = np.diff([0, *places, LENGTHS[song] - CHUNK])
        assert gaps.max() - gaps.min() <= 1


def test_whole_songs(tracks: list[StoredTrack]) -> None:
    chunks = FixedChunks(tracks, STEMS, CHUNK, per_track=None)
    assert len(chunks) == len(tracks)
    for song, track in enumerate(tracks):
        chunk = one(chunks, song)
        assert chunk.keys == [(song, 0)]
        np.testing.assert_allclose(chunk.stems.sum(0), track.mixture(), rtol=1e-6)


def test_a_validation_song_that_is_shorter_ends_in_silence(tracks: list[StoredTrack]) -> None:
    chunk = one(FixedChunks(tracks, STEMS, 2000, per_track=2), 1)
    np.testing.assert_array_equal(chunk.stems[0, :, : LENGTHS[0]], tracks[0].read("drums"))
    assert not chunk.stems[:, :, LENGTHS[0] :].any()


def test_the_store_is_not_written_to(tracks: list[StoredTrack]) -> None:
    before: Path = tracks[0].folder / "samples.npy"
    content = before.read_bytes()
    RandomChunks(tracks, STEMS, CHUNK, 0, remix=False).__getitems__([(0, 0)]).stems.mul_(0)
    assert before.read_bytes() == content
    assert tracks[0].read("drums").any()


def test_a_chunk_can_be_described(tracks: list[StoredTrack]) -> None:
    chunks = RandomChunks(tracks, STEMS, CHUNK, seed=0, remix=True)
    places = origin(one(chunks, (0, 1)))
    words = chunks.describe((0, 1)).split(", ")
    for stem, word, (song, _, start) in zip(STEMS, words, places, strict=True):
        assert word == f"{stem} of Song {song} at {start / 8000:.1f} s"
    alike = RandomChunks(tracks, STEMS, CHUNK, seed=0, remix=False)
    song, _, start = origin(one(alike, (0, 1)))[0]
    assert alike.describe((0, 1)) == f"Song {song} at {start / 8000:.1f} s"


@pytest.fixture(scope="module")
def sung(tmp_path_factory: pytest.TempPathFactory) -> list[StoredTrack]:
    """Songs of 20 s at 1 kHz: vocals from 5 to 8 s, never, and from 12 to 16 s; bass always."""
    tracks = []
    for song, (start, end) in enumerate([(5000, 8000), (0, 0), (12000, 16000)]):
        samples = np.zeros((3, 1, 20000), np.int16)
        samples[2, :, start:end] = 5000
        samples[1] = 3000
        samples[0] = samples[1:].sum(axis=0)
        folder = tmp_path_factory.mktemp(f"sung{song}")
        np.save(folder / "samples.npy", samples)
        levels = [block_levels(stem / np.float32(32768), 20000, 1000) for stem in samples[1:]]
        np.save(folder / "levels.npy", np.stack(levels))
        stems = ("bass", "vocals")
        tracks.append(StoredTrack(f"Song {song}", "train", stems, folder, 1000, 1.0))
    return tracks


def sung_share(chunks: RandomChunks, epoch: int = 0) -> float:
    """Of 300 excerpts, how many are vocals for half of their time (to a block) or more."""
    batch = chunks.__getitems__([(epoch, position) for position in range(300)])
    vocals = batch.stems[:, chunks.stems.index("vocals"), 0] != 0
    return float((vocals.float().mean(dim=1) > 0.5 - 0.06).float().mean())


@pytest.mark.parametrize("remix", [False, True])
def test_a_target_sounds_on_purpose(sung: list[StoredTrack], remix: bool) -> None:
    def chunks(sounding: float) -> RandomChunks:
        return RandomChunks(sung, ("bass", "vocals"), 2000, 0, remix, ["vocals"], sounding)

    assert sung_share(chunks(0.0)) < 0.2
    assert 0.5 < sung_share(chunks(0.5)) < 0.7
    assert sung_share(chunks(1.0)) == 1
    songs = Counter(chunks(1.0)._places((0, position))[1][0].name for position in range(300))
    assert songs["Song 1"] == 0
    assert min(songs["Song 0"], songs["Song 2"]) > 100


def test_what_sounds_on_purpose_leaves_the_other_draws_as_they_are(sung: list[StoredTrack]) -> None:
    plain, sometimes, always = (
        RandomChunks(sung, ("bass", "vocals"), 2000, 0, True, ["vocals"], sounding)
        for sounding in (0.0, 0.5, 1.0)
    )
    same = 0
    for position in range(100):
        places = [chunks._places((3, position)) for chunks in (plain, sometimes, always)]
        assert places[0][0] == places[1][0] == places[2][0], "the bass"
        assert places[1][1] in (places[0][1], places[2][1])
        same += places[1][1] == places[0][1]
    assert 30 < same < 70


def test_every_target_sounds_as_often(sung: list[StoredTrack]) -> None:
    chunks = RandomChunks(sung, ("bass", "vocals"), 2000, 0, False, ["bass", "vocals"], 1.0)
    assert 0.5 < sung_share(chunks) < 0.7


def test_a_target_that_sounds_nowhere_is_said(sung: list[StoredTrack]) -> None:
    with pytest.raises(InputError, match=r"sounding 0\.5: vocals sounds in no training song"):
        RandomChunks(sung[1:2], ("bass", "vocals"), 2000, 0, True, ["vocals"], 0.5)


@pytest.mark.parametrize("scale", [1.0, 1.7])
def test_integers_and_floats_mean_the_same(
    sung: list[StoredTrack], tmp_path: Path, scale: float
) -> None:
    integers = replace(sung[0], scale=scale)
    np.save(tmp_path / "samples.npy", integers.samples * np.float32(scale / 32768))
    floats = replace(integers, folder=tmp_path, scale=1.0)
    expected = integers.read("vocals", 4500, 2000)
    for tracks in ([integers], [floats], [integers, floats]):
        chunk = FixedChunks(tracks, ("bass", "vocals"), 2000, 3).__getitems__(
            list(range(3 * len(tracks)))
        )
        assert chunk.stems.dtype == (torch.int16 if tracks == [integers] else torch.float32)
        before = chunk.stems.clone()
        for waveforms in (chunk.waveforms(), chunk.waveforms()):
            assert waveforms.dtype == torch.float32
            np.testing.assert_allclose(waveforms[0, 1], expected, rtol=1e-6)
        assert torch.equal(chunk.stems, before)


def test_a_worker_process_fills_memory_that_it_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not chunks.empty((2, 3), torch.int16).is_shared()
    monkeypatch.setattr(chunks, "get_worker_info", lambda: "a worker")
    for dtype in (torch.int16, torch.float32):
        batch = chunks.empty((2, 3), dtype)
        assert (batch.is_shared(), batch.shape, batch.dtype) == (True, (2, 3), dtype)
        batch.zero_()


def test_test_songs_are_refused(tracks: list[StoredTrack]) -> None:
    mixed = [*tracks[:2], replace(tracks[2], subset="test")]
    with pytest.raises(InputError, match="Song 2: a test song"):
        RandomChunks(mixed, STEMS, CHUNK, seed=0, remix=True)
    with pytest.raises(InputError, match="Song 2: a test song"):
        FixedChunks(mixed, STEMS, CHUNK, per_track=1)
