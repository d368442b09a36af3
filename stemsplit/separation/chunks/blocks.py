"""Process a signal that arrives in blocks: resample it, cut it into chunks, and cross-fade chunks.

A signal is an iterable of blocks. The generators in this module keep the samples of a few blocks in
memory, never the whole signal.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
import soxr
import torch
from jaxtyping import Float
from torch import Tensor

from stemsplit.errors import InputError

Block = Float[Tensor, "*channels time"]  # a part of a signal
StemBlock = Float[Tensor, "stem *channels time"]


class Chunk(NamedTuple):
    """A part of a signal that is separated at once. `start` is the index of its first sample."""

    samples: Block
    start: int
    is_last: bool


def regrouped(blocks: Iterable[Block], size: int) -> Iterator[Block]:
    """Yield the same signal in blocks of `size` samples; the last block may be shorter."""
    waiting: list[Block] = []
    time = 0
    for block in blocks:
        waiting.append(block)
        time += block.shape[-1]
        if time >= size:
            joined = torch.cat(waiting, dim=-1)
            whole = time - time % size
            yield from joined[..., :whole].split(size, dim=-1)
            waiting = [joined[..., whole:].clone()]  # a view would keep all samples in memory
            time -= whole
    if time:
        yield torch.cat(waiting, dim=-1)


def resampled(blocks: Iterable[Block], source_rate: int, rate: int) -> Iterator[Block]:
    """Resample a signal with soxr's high-quality filter, as `audio.resample` does.

    The yielded blocks differ in length from the given blocks, and may be empty.
    """
    if source_rate == rate:
        yield from blocks
        return
    shape: tuple[int, ...] | None = None
    for block in blocks:
        if shape is None:
            shape = tuple(block.shape[:-1])
            stream = soxr.ResampleStream(source_rate, rate, max(1, block[..., 0].numel()))
        yield _interleaved(stream.resample_chunk, block.reshape(-1, block.shape[-1]), shape)
    if shape is not None:
        end = torch.zeros(max(1, int(np.prod(shape))), 0)
        yield _interleaved(lambda rest: stream.resample_chunk(rest, last=True), end, shape)


def _interleaved(
    resample: Callable[[np.ndarray], np.ndarray],
    block: Float[Tensor, "channel time"],
    shape: tuple[int, ...],
) -> Float[Tensor, "*channels resampled"]:
    # soxr takes and returns arrays `(time, channel)`.
    samples = resample(np.ascontiguousarray(block.numpy().T))
    return torch.from_numpy(np.ascontiguousarray(samples.T)).reshape(*shape, -1)


def chunks_of(blocks: Iterable[Block], chunk: int, overlap: int) -> Iterator[Chunk]:
    """Cut a signal into chunks of `chunk` samples that overlap by `overlap` samples.

    The last chunk may be shorter. An empty signal has no chunks.
    """
    start = 0
    waiting: Block | None = None
    for block in blocks:
        waiting = block if waiting is None else torch.cat([waiting, block], dim=-1)
        # A chunk is yielded here only if a later sample exists; otherwise it may be the last chunk.
        while waiting.shape[-1] > chunk:
            yield Chunk(waiting[..., :chunk], start, is_last=False)
            start += chunk - overlap
            waiting = waiting[..., chunk - overlap :]
    if waiting is not None and waiting.shape[-1]:
        yield Chunk(waiting, start, is_last=True)


def cross_faded(separated: Iterable[tuple[StemBlock, bool]], overlap: int) -> Iterator[StemBlock]:
    """Cross-fade the stems of overlapping chunks; the second value of a pair marks the last chunk.

    At every sample, the weights of the chunks sum to one.
    """
    ramp = (torch.arange(overlap) + 0.5) / overlap
    tail: StemBlock | None = None
    for stems, is_last in separated:
        if tail is not None:
            faded = tail * (1 - ramp) + stems[..., :overlap] * ramp
            stems = torch.cat([faded, stems[..., overlap:]], dim=-1)
        if is_last:
            yield stems
            return
        # A view would keep the rest of the chunk, and its batch, in memory.
        tail = stems[..., -overlap:].clone()
        yield stems[..., :-overlap]
        del stems


def delayed(blocks: Iterable[Block], delay: int) -> Iterator[Block]:
    """Put `delay` samples of silence before a signal."""
    iterator = iter(blocks)
    for first in iterator:
        yield from chain([first.new_zeros(*first.shape[:-1], delay), first], iterator)


def advanced(blocks: Iterable[Block], delay: int) -> Iterator[Block]:
    """Remove the first `delay` samples of a signal."""
    for block in blocks:
        yield block[..., min(delay, block.shape[-1]) :]
        delay -= min(delay, block.shape[-1])


def averaged(signals: list[Iterator[Block]], size: int) -> Iterator[Block]:
    """Average signals of the same length; yield blocks of `size` samples."""
    if len(signals) == 1:
        yield from signals[0]
        return
    for blocks in zip(*(regrouped(signal, size) for signal in signals), strict=True):
        yield torch.stack(blocks).mean(dim=0)


def paired(
    stems: Iterable[StemBlock], mixture: Iterable[Block], count: int
) -> Iterator[tuple[StemBlock, Block]]:
    """Yield pairs: the `count` stems of a block of the mixture, and the block.

    Resampling to the separator's sample rate and back may change the length of stems by a sample.
    So the stems are cut, or padded with silence, to the length of the mixture.
    """
    source = iter(stems)
    waiting: StemBlock | None = None
    for block in mixture:
        time = block.shape[-1]
        if waiting is None:
            waiting = block.new_zeros(count, *block.shape[:-1], 0)
        parts = [waiting]
        ready = waiting.shape[-1]
        while ready < time:
            part = next(source, None)
            if part is None:
                part = block.new_zeros(count, *block.shape[:-1], time - ready)
            parts.append(part)
            ready += part.shape[-1]
        # `waiting` may hold the stems of a whole batch. A copy needs as much memory again, so it is
        # made only if this block needs further parts.
        joined = torch.cat(parts, dim=-1) if len(parts) > 1 else waiting
        yield joined[..., :time], block
        waiting = joined[..., time:]


def finite(blocks: Iterable[Block], sample_rate: int) -> Iterator[Block]:
    """Yield a song unchanged; raise `InputError` if it is empty or contains NaN or infinity."""
    time = 0
    for block in blocks:
        if not all_finite(block):
            bad = ~block.isfinite().reshape(-1, block.shape[-1]).all(dim=0)
            seconds = (time + int(bad.nonzero()[0])) / sample_rate
            raise InputError(
                "the song contains samples that are not finite (NaN or infinity), the first at "
                f"{seconds:.2f} s"
            )
        time += block.shape[-1]
        yield block
    if not time:
        raise InputError("the song has no samples")


def check_finite(stems: StemBlock, mixture: Block, start_seconds: float) -> None:
    """Raise `InputError` if stems contain NaN or infinity."""
    if not all_finite(stems):
        raise InputError(
            f"the estimates of the chunk at {start_seconds:.2f} s contain NaN or infinity. The "
            f"largest sample of the mixture there is {mixture.abs().max():.3g}: if this is at most "
            "1, the checkpoint is damaged or its training diverged; otherwise scale the song down "
            "first"
        )


def all_finite(samples: Block) -> bool:
    """Whether no sample is NaN or infinite."""
    # The sum is much cheaper than `isfinite`, and if it is finite, all samples are finite. A sum of
    # finite samples may overflow, so if it is not finite, all samples are checked.
    return bool(samples.sum().isfinite()) or bool(samples.isfinite().all())
