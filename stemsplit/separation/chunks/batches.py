"""Separate chunks in batches; use smaller batches if the memory is too small."""

from collections.abc import Callable, Iterable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from stemsplit.errors import InputError
from stemsplit.separation.chunks.blocks import Chunk, StemBlock, check_finite

FIRST_CHUNKS = 2  # the first batch is small, so that the first stems are ready early
# Largest number of chunks in a batch by type of device, unless the user chooses a number. On a CPU,
# an LSTM is not faster with more than 4 chunks.
MOST_CHUNKS = {"cpu": 4}
MOST_CHUNKS_ELSEWHERE = 16
SeparateChunks = Callable[
    [Float[Tensor, "chunk *channels time"]], Float[Tensor, "chunk stem *channels time"]
]


def separated(
    separate: SeparateChunks,
    chunks: Iterable[Chunk],
    sample_rate: int,
    batch: int | None,
    device_type: str,
) -> Iterator[tuple[StemBlock, bool]]:
    """Yield the stems of each chunk, and whether the chunk is the last one.

    The first batch has `FIRST_CHUNKS` chunks. Each later batch is twice as large as the batch
    before, up to the limit for the type of device. With `batch`, every batch has that many chunks.
    The last chunk has its own batch. If a batch does not fit in the memory, this batch and all
    later batches are halved.

    Raises `InputError` if the memory is too small for one chunk, or if stems contain NaN or
    infinity.
    """
    most = batch or MOST_CHUNKS.get(device_type, MOST_CHUNKS_ELSEWHERE)
    size = batch or FIRST_CHUNKS
    group: list[Chunk] = []
    for chunk in chunks:
        if not chunk.is_last:
            group.append(chunk)
            if len(group) < size:
                continue
            parts = [group]
            group = []
        else:  # the last chunk may be shorter, so it has a batch of its own
            parts = [group, [chunk]] if group else [[chunk]]
        for part in parts:
            while part:
                stems = _attempt(separate, part[:size])
                if stems is None:
                    if size == 1:
                        seconds = part[0].samples.shape[-1] / sample_rate
                        raise InputError(
                            f"the memory is too small for a chunk of {seconds:.1f} s; choose "
                            "shorter chunks (--chunk-seconds), or another device"
                        )
                    size = most = size // 2
                    continue
                for chunk_stems, separated_chunk in zip(stems, part[:size], strict=True):
                    check_finite(
                        chunk_stems,
                        separated_chunk.samples,
                        separated_chunk.start / sample_rate,
                    )
                    yield chunk_stems, separated_chunk.is_last
                del stems, chunk_stems  # the next batch needs their memory
                part = part[size:]
        size = min(2 * size, most)


def _attempt(
    separate: SeparateChunks, chunks: list[Chunk]
) -> Float[Tensor, "chunk stem *channels time"] | None:
    """Return the stems of the chunks, or None if the memory is too small for all at once."""
    try:
        return separate(torch.stack([chunk.samples for chunk in chunks]))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    # The memory is freed after the except block, because inside it the traceback keeps the tensors
    # of the failed attempt.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed. torch has its own error class for this on CUDA only."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    return "out of memory" in text or "can't allocate memory" in text
