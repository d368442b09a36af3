"""The order of an epoch: a seeded permutation that processes share and a resumed run continues."""

import pytest
import torch
from torch.utils.data import DataLoader

from stemsplit.data.excerpts.chunks import Chunk, FixedChunks, RandomChunks, as_it_is
from stemsplit.data.excerpts.sampling import EpochSampler, ResumableLoader, SharedBatches
from stemsplit.data.store.stored import StoredTrack
from stemsplit.errors import InputError

STEMS = ("drums", "bass", "other", "vocals")
CHUNK = 400


def test_batches_do_not_depend_on_workers(tracks: list[StoredTrack]) -> None:
    def epochs(workers: int) -> list[Chunk]:
        chunks = RandomChunks(tracks, STEMS, CHUNK, seed=0, remix=True)
        sampler = EpochSampler(10, seed=0)
        loader = DataLoader(
            chunks,
            batch_size=3,
            sampler=sampler,
            collate_fn=as_it_is,
            num_workers=workers,
            persistent_workers=workers > 0,
            multiprocessing_context="spawn" if workers else None,
        )
        batches = []
        for epoch in range(2):
            sampler.set_epoch(epoch)
            batches += list(loader)
        return batches

    expected, batches = epochs(workers=0), epochs(workers=2)
    assert [batch.keys for batch in batches] == [batch.keys for batch in expected]
    assert all(torch.equal(a.stems, b.stems) for a, b in zip(batches, expected, strict=True))
    assert batches[0].stems.shape == (3, 4, 2, CHUNK)
    assert len({key for batch in batches for key in batch.keys}) == 20


def test_epoch_is_a_permutation() -> None:
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


def test_epoch_order_does_not_depend_on_earlier_epochs() -> None:
    """A run resumed at epoch 5 draws the same keys as an uninterrupted run."""
    resumed, another_seed = EpochSampler(50, seed=0), EpochSampler(50, seed=1)
    uninterrupted = EpochSampler(50, seed=0)
    for epoch in range(6):
        uninterrupted.set_epoch(epoch)
        keys = list(uninterrupted)
    resumed.set_epoch(5)
    another_seed.set_epoch(5)
    assert list(resumed) == keys
    assert list(another_seed) != keys


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_draw_disjoint_keys_of_one_epoch(ranks: int) -> None:
    samplers = [EpochSampler(11, 0, rank, ranks) for rank in range(ranks)]
    for sampler in samplers:
        sampler.set_epoch(4)
    keys = [list(sampler) for sampler in samplers]
    assert all(len(part) == len(samplers[0]) == 11 // ranks for part in keys)
    all_keys = [key for part in keys for key in part]
    assert len(set(all_keys)) == len(all_keys)
    assert {epoch for epoch, _ in all_keys} == {4}


def test_ranks_together_draw_the_keys_of_one_process() -> None:
    """Two processes with batches of 3 draw the keys of one process with batches of 6."""
    one_process = list(EpochSampler(12, 0))
    ranks = [list(EpochSampler(12, 0, rank, 2)) for rank in range(2)]
    for start in range(0, 6, 3):
        keys = [key for part in ranks for key in part[start : start + 3]]
        assert set(keys) == set(one_process[2 * start : 2 * start + 6])


@pytest.mark.parametrize("workers", [0, 1])
def test_resumed_loader_continues_after_received_batches(
    tracks: list[StoredTrack], workers: int
) -> None:
    def loader() -> ResumableLoader:
        chunks = RandomChunks(tracks, STEMS, CHUNK, seed=0, remix=True)
        options = {"batch_size": 3, "num_workers": workers, "collate_fn": as_it_is}
        return ResumableLoader(chunks, EpochSampler(10, 0), **options)

    def remaining(loader: ResumableLoader) -> list[list[tuple[int, int]]]:
        return [batch.keys for batch in loader]

    uninterrupted = loader()
    uninterrupted.epochs.set_epoch(2)
    expected = remaining(uninterrupted)
    assert len(expected) == len(uninterrupted) == 4
    for taken in range(1, 4):
        first = loader()
        first.epochs.set_epoch(2)
        batches = iter(first)
        for _ in range(taken):
            next(batches)
        state = first.state_dict()
        second = loader()
        second.load_state_dict(state)
        second.epochs.set_epoch(2)  # Lightning calls this when it resumes
        assert remaining(second) == expected[taken:]
        assert len(second) == 4
        second.epochs.set_epoch(3)
        assert len(remaining(second)) == 4
    after_epoch = loader()
    after_epoch.load_state_dict(uninterrupted.state_dict())
    assert {key[0] for keys in remaining(after_epoch) for key in keys} == {3}


def test_loader_does_not_use_the_global_generator(tracks: list[StoredTrack]) -> None:
    chunks = RandomChunks(tracks, STEMS, CHUNK, seed=0, remix=True)
    before = torch.get_rng_state()
    generator = torch.Generator()
    list(
        ResumableLoader(
            chunks, EpochSampler(4, 0), batch_size=2, collate_fn=as_it_is, generator=generator
        )
    )
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 4, 5, 7])
def test_ranks_share_batches_and_repeated_batches_are_not_counted(
    tracks: list[StoredTrack], count: int, ranks: int
) -> None:
    shares = [list(SharedBatches(count, 2, rank, ranks)) for rank in range(ranks)]
    assert len({len(share) for share in shares}) == 1
    counted = [index for share in shares for batch in share for index in batch if index >= 0]
    assert sorted(counted) == list(range(count))
    chunks = FixedChunks(tracks, STEMS, CHUNK, per_track=2)
    for share in shares:
        for batch in share:
            chunk = chunks.__getitems__(batch)
            assert len(chunk.keys) == sum(index >= 0 for index in batch)
            assert len(chunk.stems) == len(batch)


@pytest.mark.parametrize("positions", [8, 14])
def test_epoch_is_continued_with_fewer_or_more_songs(
    tracks: list[StoredTrack], positions: int
) -> None:
    def loader(positions: int, ranks: int = 1) -> ResumableLoader:
        chunks = RandomChunks(tracks, STEMS, CHUNK, seed=0, remix=True)
        sampler = EpochSampler(positions, seed=0, ranks=ranks)
        return ResumableLoader(chunks, sampler, batch_size=2, collate_fn=as_it_is)

    before = loader(10)
    batches = iter(before)
    for _ in range(3):
        next(batches)
    state = before.state_dict()
    after = loader(positions)
    after.load_state_dict(state)
    assert len(list(after)) == positions // 2 - 3
    with pytest.raises(InputError, match="with the same number of processes"):
        loader(2 * positions, ranks=2).load_state_dict(state)
    few = loader(4)
    few.load_state_dict(state)
    assert {key[0] for batch in few for key in batch.keys} == {1}
