"""Excerpts: a function of their key alone, and of the songs and places that they should be."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from stemsplit.data.chunks import (
    Chunk,
    EpochSampler,
    FixedChunks,
    RandomChunks,
    ResumableLoader,
    SharedBatches,
    collate,
)
from stemsplit.data.store import StoredTrack

STEMS = ("drums", "bass", "other", "vocals")
LENGTHS = (900, 1100, 1300, 1500)
CHUNK = 400


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> list[StoredTrack]:
    """Songs whose samples say where they are from: `10 · (1 + song) + stem + time / 10000`."""
    tracks = []
    for song, length in enumerate(LENGTHS):
        stem = np.arange(4)[:, None, None]
        code = 10 * (1 + song) + stem + np.arange(length) / 10000
        stems = (code * np.array([1, -1])[:, None]).astype(np.float32)
        folder = tmp_path_factory.mktemp(f"song{song}")
        np.save(folder / "samples.npy", np.concatenate([stems.sum(0, keepdims=True), stems]))
        tracks.append(StoredTrack(f"Song {song}", "train", STEMS, folder, 8000, 1.0))
    return tracks


def origin(chunk: Chunk) -> list[tuple[int, int, int]]:
    """Song, stem and first sample of each row of a chunk."""
    return [
        (int(first) // 10 - 1, int(first) % 10, round(first % 1 * 10000))
        for first in chunk.stems[:, 0, 0].tolist()
    ]


def drawn(chunks: RandomChunks, positions: int, epoch: int = 0) -> list[Chunk]:
    return [chunks[epoch, position] for position in range(positions)]


@pytest.mark.parametrize("remix", [False, True])
def test_an_excerpt_is_a_function_of_its_key(tracks: list[StoredTrack], remix: bool) -> None:
    first = RandomChunks(tracks, STEMS, CHUNK, seed=3, remix=remix)
    keys = [(epoch, position) for epoch in (0, 1, 7) for position in range(10)]
    chunks = {key: first[key].stems for key in keys}
    again = RandomChunks(tracks, STEMS, CHUNK, seed=3, remix=remix)
    for key in reversed(keys):
        assert again[key].keys == [key]
        assert torch.equal(again[key].stems, chunks[key])
    assert len({chunk.numpy().tobytes() for chunk in chunks.values()}) == len(keys)
    other = RandomChunks(tracks, STEMS, CHUNK, seed=4, remix=remix)
    assert not any(torch.equal(other[key].stems, chunks[key]) for key in keys)


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
    assert all(torch.equal(pairs[0][1, p].stems, pairs[1][1, p].stems) for p in range(10))


def test_workers_change_nothing(tracks: list[StoredTrack]) -> None:
    def epochs(workers: int) -> list[Chunk]:
        chunks = RandomChunks(tracks, STEMS, CHUNK, seed=0, remix=True)
        sampler = EpochSampler(10, seed=0)
        loader = DataLoader(
            chunks,
            batch_size=3,
            sampler=sampler,
            collate_fn=collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            multiprocessing_context="spawn" if workers else None,
        )
        batches = []
        for epoch in range(2):
            sampler.set_epoch(epoch)
            batches += list(loader)
        return batches

    alone, helped = epochs(0), epochs(2)
    assert [batch.keys for batch in alone] == [batch.keys for batch in helped]
    assert all(torch.equal(a.stems, b.stems) for a, b in zip(alone, helped, strict=True))
    assert alone[0].stems.shape == (3, 4, 2, CHUNK)
    assert len({key for batch in alone for key in batch.keys}) == 20


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
    assert [stem for _, stem, _ in origin(chunks[0, 0])] == [3, 0]


def test_an_epoch_is_a_permutation() -> None:
    sampler = EpochSampler(100, seed=0)
    epochs = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        keys = list(sampler)
        assert list(sampler) == keys
        assert sorted(keys) == [(epoch, position) for position in range(100)]
        assert len(sampler) == len(keys)
        epochs.append([position for _, position in keys])
    assert epochs[0] != sorted(epochs[0])
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_an_epoch_needs_no_history() -> None:
    """A run that resumes at epoch 5 draws as one that came there."""
    resumed, other = EpochSampler(50, seed=0), EpochSampler(50, seed=1)
    came = EpochSampler(50, seed=0)
    for epoch in range(6):
        came.set_epoch(epoch)
        keys = list(came)
    resumed.set_epoch(5)
    other.set_epoch(5)
    assert list(resumed) == keys
    assert list(other) != keys


def test_validation_excerpts_never_change(tracks: list[StoredTrack]) -> None:
    first, again = (FixedChunks(tracks, STEMS, CHUNK, per_track=3) for _ in range(2))
    assert len(first) == 12
    for place in range(12):
        assert first[place].keys == again[place].keys
        assert torch.equal(first[place].stems, again[place].stems)


@pytest.mark.parametrize("per_track", [1, 3, 5])
def test_validation_excerpts_lie_evenly(tracks: list[StoredTrack], per_track: int) -> None:
    chunks = FixedChunks(tracks, STEMS, CHUNK, per_track)
    starts: dict[int, list[int]] = {song: [] for song in range(len(tracks))}
    for place in range(len(chunks)):
        chunk = chunks[place]
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
        chunk = chunks[song]
        assert chunk.keys == [(song, 0)]
        np.testing.assert_allclose(chunk.stems.sum(0), track.mixture(), rtol=1e-6)


def test_a_validation_song_that_is_shorter_ends_in_silence(tracks: list[StoredTrack]) -> None:
    chunk = FixedChunks(tracks, STEMS, 2000, per_track=2)[1]
    np.testing.assert_array_equal(chunk.stems[0, :, : LENGTHS[0]], tracks[0].read("drums"))
    assert not chunk.stems[:, :, LENGTHS[0] :].any()


def test_the_store_is_not_written_to(tracks: list[StoredTrack]) -> None:
    before: Path = tracks[0].folder / "samples.npy"
    content = before.read_bytes()
    RandomChunks(tracks, STEMS, CHUNK, seed=0, remix=False)[0, 0].stems.mul_(0)
    assert before.read_bytes() == content
    assert tracks[0].read("drums").any()


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_draw_disjoint_keys_of_one_epoch(ranks: int) -> None:
    samplers = [EpochSampler(11, 0, rank, ranks) for rank in range(ranks)]
    for sampler in samplers:
        sampler.set_epoch(4)
    keys = [list(sampler) for sampler in samplers]
    assert all(len(part) == len(samplers[0]) == 11 // ranks for part in keys)
    together = [key for part in keys for key in part]
    assert len(set(together)) == len(together)
    assert {epoch for epoch, _ in together} == {4}


def test_the_first_batches_of_ranks_are_those_of_one_with_larger_batches() -> None:
    alone = list(EpochSampler(12, 0))
    ranks = [list(EpochSampler(12, 0, rank, 2)) for rank in range(2)]
    for start in range(0, 6, 3):
        shared = [key for part in ranks for key in part[start : start + 3]]
        assert set(shared) == set(alone[2 * start : 2 * start + 6])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_goes_on_after_the_batches_that_were_taken(
    tracks: list[StoredTrack], workers: int
) -> None:
    def loader() -> ResumableLoader:
        chunks = RandomChunks(tracks, STEMS, CHUNK, seed=0, remix=True)
        how = {"batch_size": 3, "num_workers": workers, "collate_fn": collate}
        return ResumableLoader(chunks, EpochSampler(10, 0), **how)

    def rest(loader: ResumableLoader) -> list[list[tuple[int, int]]]:
        return [batch.keys for batch in loader]

    whole = loader()
    whole.epochs.set_epoch(2)
    expected = rest(whole)
    assert len(expected) == len(whole) == 4
    for taken in range(1, 4):
        first = loader()
        first.epochs.set_epoch(2)
        batches = iter(first)
        for _ in range(taken):
            next(batches)
        state = first.state_dict()
        second = loader()
        second.load_state_dict(state)
        second.epochs.set_epoch(2)  # as Lightning does
        assert rest(second) == expected[taken:]
        assert len(second) == 4
        second.epochs.set_epoch(3)
        assert len(rest(second)) == 4
    ended = loader()
    ended.load_state_dict(whole.state_dict())
    assert {key[0] for keys in rest(ended) for key in keys} == {3}


def test_a_loader_leaves_the_global_generator_alone(tracks: list[StoredTrack]) -> None:
    chunks = RandomChunks(tracks, STEMS, CHUNK, seed=0, remix=True)
    before = torch.get_rng_state()
    generator = torch.Generator()
    list(
        ResumableLoader(
            chunks, EpochSampler(4, 0), batch_size=2, collate_fn=collate, generator=generator
        )
    )
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 4, 5, 7])
def test_ranks_share_all_batches_and_repeat_some_that_count_nothing(
    tracks: list[StoredTrack], count: int, ranks: int
) -> None:
    shares = [list(SharedBatches(count, 2, rank, ranks)) for rank in range(ranks)]
    assert len({len(share) for share in shares}) == 1
    counted = [number for share in shares for batch in share for number in batch if number >= 0]
    assert sorted(counted) == list(range(count))
    chunks = FixedChunks(tracks, STEMS, CHUNK, per_track=2)
    for share in shares:
        for batch in share:
            found = collate([chunks[number] for number in batch])
            assert len(found.keys) == sum(number >= 0 for number in batch)
            assert len(found.stems) == len(batch)


def test_a_chunk_can_be_described(tracks: list[StoredTrack]) -> None:
    chunks = RandomChunks(tracks, STEMS, CHUNK, seed=0, remix=True)
    places = origin(chunks[0, 1])
    words = chunks.describe((0, 1)).split(", ")
    for stem, word, (song, _, start) in zip(STEMS, words, places, strict=True):
        assert word == f"{stem} of Song {song} at {start / 8000:.1f} s"
    alike = RandomChunks(tracks, STEMS, CHUNK, seed=0, remix=False)
    song, _, start = origin(alike[0, 1])[0]
    assert alike.describe((0, 1)) == f"Song {song} at {start / 8000:.1f} s"
