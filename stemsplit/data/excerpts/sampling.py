"""The order of the excerpts in an epoch, and their distribution over processes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from stemsplit.data.excerpts.chunks import Chunk, Key
from stemsplit.errors import InputError


class EpochSampler(Sampler[Key]):
    """The keys `(epoch, position)` of an epoch in an order that depends on seed and epoch only.

    Each of `ranks` processes draws the same number of keys, and no two processes draw the same key.
    Keys that remain after an even division are left out of the epoch. `start_at` skips the first
    keys of an epoch, so that a training can resume in the middle of the epoch.
    """

    def __init__(self, positions: int, seed: int, rank: int = 0, ranks: int = 1) -> None:
        self.positions = positions
        self.seed = seed
        self.rank = rank
        self.ranks = ranks
        self.epoch = 0
        self.first = 0

    def set_epoch(self, epoch: int) -> None:
        """Start at the first key of an epoch. Lightning calls this before each epoch.

        In a resumed epoch, the position that `start_at` has set is kept.
        """
        if epoch != self.epoch:
            self.start_at(epoch, 0)

    def start_at(self, epoch: int, first: int) -> None:
        """Continue with key number `first` of this process in an epoch."""
        self.epoch = epoch
        self.first = first

    def __len__(self) -> int:
        return self.positions // self.ranks

    def __iter__(self) -> Iterator[Key]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.positions)
        positions = order[self.rank :: self.ranks][: len(self)]
        return iter([(self.epoch, int(position)) for position in positions[self.first :]])


class ResumableLoader(DataLoader[Chunk]):
    """Load batches of an `EpochSampler`'s keys. A checkpoint can resume the loader within an epoch.

    The state of the loader counts the batches that the training has received. It does not count
    batches that workers have only prefetched. `options` are the options of a DataLoader.
    """

    def __init__(self, chunks: Dataset[Chunk], sampler: EpochSampler, **options: Any) -> None:
        super().__init__(chunks, sampler=sampler, **options)
        self.epochs = sampler
        self.taken = 0

    def __iter__(self) -> Iterator[Chunk]:  # type: ignore[override]
        assert self.batch_size is not None
        # This method is a generator, so its body reads the sampler's state only when the first
        # batch is requested.
        self.taken = self.epochs.first // self.batch_size
        for batch in super().__iter__():
            self.taken += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {
            "epoch": self.epochs.epoch,
            "batches": self.taken,
            "of": len(self),
            "ranks": self.epochs.ranks,
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        assert self.batch_size is not None
        epoch, taken = state["epoch"], state["batches"]
        # Older checkpoints lack the number of processes.
        ranks = state.get("ranks", self.epochs.ranks)
        if taken >= min(state["of"], len(self)):  # a corpus with changed songs has other epochs
            epoch, taken = epoch + 1, 0
        elif ranks != self.epochs.ranks or ("ranks" not in state and state["of"] != len(self)):
            raise InputError(
                f"the checkpoint was written within an epoch of {state['of']} batches, but an "
                f"epoch has {len(self)} batches now; resume with the same number of processes"
            )
        self.epochs.start_at(epoch, taken * self.batch_size)


class SharedBatches(Sampler[list[int]]):
    """Batches of the indices below `count`, distributed evenly over `ranks` processes.

    Every process has the same number of batches. If the number of batches is not a multiple of
    `ranks`, copies of the first batch fill the gap. In a copy, each index i is written as ~i (a
    negative number), so that the validation can leave these excerpts out of its averages.
    """

    def __init__(self, count: int, batch_size: int, rank: int = 0, ranks: int = 1) -> None:
        batches = [
            list(range(start, min(start + batch_size, count)))
            for start in range(0, count, batch_size)
        ]
        repeated = [~number for number in batches[0]]
        batches += [repeated] * (-len(batches) % ranks)
        self.batches = batches[rank::ranks]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)
