"""The order of the excerpts in an epoch, and their distribution over processes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from stemsplit.data.excerpts.chunks import Chunk, Key
from stemsplit.errors import InputError


class EpochSampler(Sampler[Key]):
    """The keys of an epoch, `(epoch, position)`, in an order that its seed and epoch fix.

    Each of `ranks` processes draws keys of its own, equally many. After `start_at` the epoch's
    first keys, which were drawn before, are left out.
    """

    def __init__(self, positions: int, seed: int, rank: int = 0, ranks: int = 1) -> None:
        self.positions = positions
        self.seed = seed
        self.rank = rank
        self.ranks = ranks
        self.epoch = 0
        self.first = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch, and in the middle of one that is resumed."""
        if epoch != self.epoch:
            self.start_at(epoch, 0)

    def start_at(self, epoch: int, first: int) -> None:
        self.epoch = epoch
        self.first = first

    def __len__(self) -> int:
        return self.positions // self.ranks

    def __iter__(self) -> Iterator[Key]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.positions)
        mine = order[self.rank :: self.ranks][: len(self)]
        return iter([(self.epoch, int(position)) for position in mine[self.first :]])


class ResumableLoader(DataLoader[Chunk]):
    """Batches of an `EpochSampler`'s keys, which go on where a checkpoint was written.

    It counts the batches that were taken from it, not those its workers have made ahead.
    """

    def __init__(self, chunks: Dataset[Chunk], sampler: EpochSampler, **how: Any) -> None:
        super().__init__(chunks, sampler=sampler, **how)
        self.epochs = sampler
        self.taken = 0

    def __iter__(self) -> Iterator[Chunk]:  # type: ignore[override]
        assert self.batch_size is not None
        # A generator, so nothing is drawn before the epoch is known.
        self.taken = self.epochs.first // self.batch_size
        for batch in super().__iter__():
            self.taken += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epochs.epoch, "batches": self.taken, "of": len(self)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        assert self.batch_size is not None
        epoch, taken = state["epoch"], state["batches"]
        if taken >= state["of"]:
            epoch, taken = epoch + 1, 0
        elif state["of"] != len(self):
            raise InputError(
                f"the checkpoint lies within an epoch of {state['of']} batches, which has "
                f"{len(self)} now: resume with as many processes as before"
            )
        self.epochs.start_at(epoch, taken * self.batch_size)


class SharedBatches(Sampler[list[int]]):
    """Batches of the numbers below `count`, dealt out to `ranks` processes, equally many to each.

    A process that has none left repeats one as ~number, which is to count nothing.
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
