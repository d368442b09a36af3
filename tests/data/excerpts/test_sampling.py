"""The order of an epoch: a permutation that its seed fixes, shared by processes, gone on with."""

import pytest
import torch
from torch.utils.data import DataLoader

from stemsplit.data.excerpts.chunks import Chunk, FixedChunks, RandomChunks, as_it_is
from stemsplit.data.excerpts.sampling import EpochSampler, ResumableLoader, SharedBatches
from stemsplit.data.store.stored import StoredTrack

STEMS = ("drums", "bass", "other", "vocals")
CHUNK = 400


def test_workers_change_nothing(tracks: list[StoredTrack]) -> None:
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

    alone, helped = epochs(0), epochs(2)
    assert [batch.keys for batch in alone] == [batch.keys for batch in helped]
    assert all(torch.equal(a.stems, b.stems) for a, b in zip(alone, helped, strict=True))
    assert alone[0].stems.shape == (3, 4, 2, CHUNK)
    assert len({key for batch in alone for key in batch.keys}) == 20


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
        how = {"batch_size": 3, "num_workers": workers, "collate_fn": as_it_is}
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
            chunks, EpochSampler(4, 0), batch_size=2, collate_fn=as_it_is, generator=generator
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
            found = chunks.__getitems__(batch)
            assert len(found.keys) == sum(number >= 0 for number in batch)
            assert len(found.stems) == len(batch)
