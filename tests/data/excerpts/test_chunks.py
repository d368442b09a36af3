"""Excerpts depend on their key only and come from the expected songs, stems and times."""

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


def excerpt(chunks: RandomChunks | FixedChunks, key: object) -> Chunk:
    """A single excerpt with stems of shape `(stem, channel, time)`."""
    chunk = chunks.__getitems__([key])
    return chunk._replace(stems=chunk.waveforms()[0])


def origin(chunk: Chunk) -> list[tuple[int, int, int]]:
    """Song, stem and first sample of each row of a chunk."""
    return [
        (int(first) // 10 - 1, int(first) % 10, round(first % 1 * 10000))
        for first in chunk.stems[:, 0, 0].tolist()
    ]


def drawn(chunks: RandomChunks, positions: int, epoch: int = 0) -> list[Chunk]:
    return [excerpt(chunks, (epoch, position)) for position in range(positions)]


@pytest.mark.parametrize("remix", [False, True])
def test_excerpt_depends_on_seed_and_key_only(tracks: list[StoredTrack], remix: bool) -> None:
    first = RandomChunks(tracks, STEMS, CHUNK, seed=3, remix=remix)
    keys = [(epoch, position) for epoch in (0, 1, 7) for position in range(10)]
    chunks = {key: excerpt(first, key).stems for key in keys}
    again = RandomChunks(tracks, STEMS, CHUNK, seed=3, remix=remix)
    for key in reversed(keys):
        assert excerpt(again, key).keys == [key]
        assert torch.equal(excerpt(again, key).stems, chunks[key])
    assert len({chunk.numpy().tobytes() for chunk in chunks.values()}) == len(keys)
    another_seed = RandomChunks(tracks, STEMS, CHUNK, seed=4, remix=remix)
    assert not any(torch.equal(excerpt(another_seed, key).stems, chunks[key]) for key in keys)


@pytest.mark.parametrize("remix", [False, True])
def test_stems_are_drawn_in_proportion_to_weights(tracks: list[StoredTrack], remix: bool) -> None:
    weighted = [replace(track, weight=1.0 + song) for song, track in enumerate(tracks)]
    chunks = RandomChunks(weighted, STEMS, CHUNK, seed=0, remix=remix)
    origins = [origin(chunk) for chunk in drawn(chunks, 2000)]
    for stem in range(len(STEMS)):
        counts = Counter(rows[stem][0] for rows in origins)
        for song in range(4):
            assert counts[song] / 2000 == pytest.approx((1 + song) / 10, abs=0.03)


def test_equal_weights_change_nothing(tracks: list[StoredTrack]) -> None:
    weighted = [replace(track, weight=0.5) for track in tracks]
    plain = RandomChunks(tracks, STEMS, CHUNK, seed=0, remix=True)
    equal = RandomChunks(weighted, STEMS, CHUNK, seed=0, remix=True)
    for position in range(10):
        key = (1, position)
        assert torch.equal(excerpt(plain, key).stems, excerpt(equal, key).stems)


def test_stems_come_from_one_excerpt_without_remix(tracks: list[StoredTrack]) -> None:
    chunks = RandomChunks(tracks, STEMS, CHUNK, seed=0, remix=False)
    for position, chunk in enumerate(drawn(chunks, 20)):
        places = origin(chunk)
        assert [stem for _, stem, _ in places] == [0, 1, 2, 3]
        [(song, start)] = {(song, start) for song, _, start in places}
        assert song == position % len(tracks)
        mixture = tracks[song].mixture()[:, start : start + CHUNK]
        np.testing.assert_allclose(chunk.stems.sum(0), mixture, rtol=1e-6)


def test_remix_draws_stems_independently(tracks: list[StoredTrack]) -> None:
    chunks = RandomChunks(tracks, STEMS, CHUNK, seed=0, remix=True)
    origins = [origin(chunk) for chunk in drawn(chunks, 400)]
    for position, places in enumerate(origins):
        assert [stem for _, stem, _ in places] == [0, 1, 2, 3]
        assert places[0][0] == position % len(tracks)
    for row in range(4):  # all songs are about equally frequent
        counts = Counter(places[row][0] for places in origins)
        assert all(60 < counts[song] < 140 for song in range(len(tracks)))
    for row in range(1, 4):  # songs and start times of two stems are independent
        assert 0.15 < np.mean([places[row][0] == places[0][0] for places in origins]) < 0.35
        assert np.mean([places[row][2] == places[0][2] for places in origins]) < 0.02


def test_excerpts_are_slices_of_the_songs(tracks: list[StoredTrack]) -> None:
    chunks = RandomChunks(tracks, STEMS, CHUNK, seed=0, remix=True)
    for chunk in drawn(chunks, 50):
        for row, (song, stem, start) in zip(chunk.stems, origin(chunk), strict=True):
            expected = tracks[song].read(STEMS[stem], start, CHUNK)
            np.testing.assert_array_equal(row, expected)
            assert start + CHUNK <= LENGTHS[song]


def test_all_start_positions_are_drawn(tracks: list[StoredTrack]) -> None:
    chunks = RandomChunks(tracks[:1], STEMS, LENGTHS[0] - 2, seed=0, remix=False)
    starts = Counter(origin(chunk)[0][2] for chunk in drawn(chunks, 60))
    assert set(starts) == {0, 1, 2}
    assert min(starts.values()) > 8


@pytest.mark.parametrize("remix", [False, True])
def test_short_song_is_padded_with_silence(tracks: list[StoredTrack], remix: bool) -> None:
    chunks = RandomChunks(tracks, STEMS, 2000, seed=0, remix=remix)
    for chunk in drawn(chunks, 8):
        assert chunk.stems.shape == (4, 2, 2000)
        for row, (song, stem, start) in zip(chunk.stems, origin(chunk), strict=True):
            assert start == 0
            np.testing.assert_array_equal(row[:, : LENGTHS[song]], tracks[song].read(STEMS[stem]))
            assert not row[:, LENGTHS[song] :].any()


def test_stems_have_the_requested_order(tracks: list[StoredTrack]) -> None:
    chunks = RandomChunks(tracks, ("vocals", "drums"), CHUNK, seed=0, remix=False)
    assert [stem for _, stem, _ in origin(excerpt(chunks, (0, 0)))] == [3, 0]


def test_validation_excerpts_are_fixed(tracks: list[StoredTrack]) -> None:
    first, again = (FixedChunks(tracks, STEMS, CHUNK, per_track=3) for _ in range(2))
    assert len(first) == 12
    for place in range(12):
        assert excerpt(first, place).keys == excerpt(again, place).keys
        assert torch.equal(excerpt(first, place).stems, excerpt(again, place).stems)


@pytest.mark.parametrize("per_track", [1, 3, 5])
def test_validation_excerpts_are_evenly_spaced(tracks: list[StoredTrack], per_track: int) -> None:
    chunks = FixedChunks(tracks, STEMS, CHUNK, per_track)
    starts: dict[int, list[int]] = {song: [] for song in range(len(tracks))}
    for place in range(len(chunks)):
        chunk = excerpt(chunks, place)
        assert chunk.stems.shape == (4, 2, CHUNK)
        [(song, start)] = {(song, start) for song, _, start in origin(chunk)}
        assert chunk.keys == [(song, start)]
        starts[song].append(start)
    for song, places in starts.items():
        assert len(places) == per_track
        gaps = np.diff([0, *places, LENGTHS[song] - CHUNK])
        assert gaps.max() - gaps.min() <= 1


def test_whole_songs_are_validated_without_per_track(tracks: list[StoredTrack]) -> None:
    chunks = FixedChunks(tracks, STEMS, CHUNK, per_track=None)
    assert len(chunks) == len(tracks)
    for song, track in enumerate(tracks):
        chunk = excerpt(chunks, song)
        assert chunk.keys == [(song, 0)]
        np.testing.assert_allclose(chunk.stems.sum(0), track.mixture(), rtol=1e-6)


def test_short_validation_song_is_padded_with_silence(tracks: list[StoredTrack]) -> None:
    chunk = excerpt(FixedChunks(tracks, STEMS, 2000, per_track=2), 1)
    np.testing.assert_array_equal(chunk.stems[0, :, : LENGTHS[0]], tracks[0].read("drums"))
    assert not chunk.stems[:, :, LENGTHS[0] :].any()


def test_changing_a_chunk_leaves_the_store_unchanged(tracks: list[StoredTrack]) -> None:
    file: Path = tracks[0].folder / "samples.npy"
    content = file.read_bytes()
    RandomChunks(tracks, STEMS, CHUNK, 0, remix=False).__getitems__([(0, 0)]).stems.mul_(0)
    assert file.read_bytes() == content
    assert tracks[0].read("drums").any()


def test_describe_names_songs_and_times(tracks: list[StoredTrack]) -> None:
    chunks = RandomChunks(tracks, STEMS, CHUNK, seed=0, remix=True)
    places = origin(excerpt(chunks, (0, 1)))
    descriptions = chunks.describe((0, 1)).split(", ")
    for stem, description, (song, _, start) in zip(STEMS, descriptions, places, strict=True):
        assert description == f"{stem} of Song {song} at {start / 8000:.1f} s"
    without_remix = RandomChunks(tracks, STEMS, CHUNK, seed=0, remix=False)
    song, _, start = origin(excerpt(without_remix, (0, 1)))[0]
    assert without_remix.describe((0, 1)) == f"Song {song} at {start / 8000:.1f} s"


@pytest.fixture(scope="module")
def sung(tmp_path_factory: pytest.TempPathFactory) -> list[StoredTrack]:
    """Three songs of 20 s at 1 kHz with constant bass.

    The vocals are active from 5 to 8 s, never, and from 12 to 16 s.
    """
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
    """Share of 300 excerpts with vocals in at least half of the time, up to one block."""
    batch = chunks.__getitems__([(epoch, position) for position in range(300)])
    vocals = batch.stems[:, chunks.stems.index("vocals"), 0] != 0
    return float((vocals.float().mean(dim=1) > 0.5 - 0.06).float().mean())


@pytest.mark.parametrize("remix", [False, True])
def test_sounding_raises_the_share_of_active_excerpts(sung: list[StoredTrack], remix: bool) -> None:
    def chunks(sounding: float) -> RandomChunks:
        return RandomChunks(sung, ("bass", "vocals"), 2000, 0, remix, ["vocals"], sounding)

    assert sung_share(chunks(0.0)) < 0.2
    assert 0.5 < sung_share(chunks(0.5)) < 0.7
    assert sung_share(chunks(1.0)) == 1
    songs = Counter(chunks(1.0)._places((0, position))[1][0].name for position in range(300))
    assert songs["Song 1"] == 0
    assert min(songs["Song 0"], songs["Song 2"]) > 100


def test_sounding_leaves_other_draws_unchanged(sung: list[StoredTrack]) -> None:
    plain, sometimes, always = (
        RandomChunks(sung, ("bass", "vocals"), 2000, 0, True, ["vocals"], sounding)
        for sounding in (0.0, 0.5, 1.0)
    )
    unchanged = 0
    for position in range(100):
        places = [chunks._places((3, position)) for chunks in (plain, sometimes, always)]
        assert places[0][0] == places[1][0] == places[2][0], "the bass has changed"
        assert places[1][1] in (places[0][1], places[2][1])
        unchanged += places[1][1] == places[0][1]
    assert 30 < unchanged < 70


def test_targets_are_chosen_equally_often(sung: list[StoredTrack]) -> None:
    chunks = RandomChunks(sung, ("bass", "vocals"), 2000, 0, False, ["bass", "vocals"], 1.0)
    assert 0.5 < sung_share(chunks) < 0.7


def test_target_without_activity_is_refused(sung: list[StoredTrack]) -> None:
    with pytest.raises(
        InputError,
        match=r"sounding 0\.5: no training song has an excerpt in which vocals is active",
    ):
        RandomChunks(sung[1:2], ("bass", "vocals"), 2000, 0, True, ["vocals"], 0.5)


@pytest.mark.parametrize("scale", [1.0, 1.7])
def test_integer_and_float_songs_have_equal_waveforms(
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
    with_test_song = [*tracks[:2], replace(tracks[2], subset="test")]
    with pytest.raises(InputError, match="Song 2: this is a test song"):
        RandomChunks(with_test_song, STEMS, CHUNK, seed=0, remix=True)
    with pytest.raises(InputError, match="Song 2: this is a test song"):
        FixedChunks(with_test_song, STEMS, CHUNK, per_track=1)
