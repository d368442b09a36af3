"""The activity map of a song: where each stem sounds.

A block of 0.1 s counts as sounding where its level is above -60 dB of full scale (below that the
doctor calls a stem near-silent) and at most 40 dB below the stem's loudest block, which leaves out
what a microphone heard of the others.
"""

import numpy as np
from jaxtyping import Bool, Float32, Int

BLOCK_SECONDS = 0.1
QUIETEST_DB = -60.0  # of full scale
RANGE_DB = 40.0  # below the stem's loudest block
ENOUGH = 0.5  # of an excerpt's blocks: less of it is passing by, not sounding

Levels = Float32[np.ndarray, " block"]


def block_length(sample_rate: int) -> int:
    """In samples."""
    return max(1, round(BLOCK_SECONDS * sample_rate))


def block_levels(samples: Float32[np.ndarray, "channel _"], time: int, sample_rate: int) -> Levels:
    """Mean squares of the blocks of `time` samples, silent where there are fewer."""
    block = block_length(sample_rate)
    levels = np.zeros(-(-time // block), np.float32)
    whole = samples.shape[1] // block
    blocks = samples[:, : whole * block].reshape(len(samples), whole, block)
    levels[:whole] = np.einsum("cbt,cbt->b", blocks, blocks) / (len(samples) * block)
    rest = samples[:, whole * block :]
    if rest.size:
        levels[whole] = np.mean(np.square(rest))
    return levels


def sounding(levels: Levels) -> Bool[np.ndarray, " block"]:
    """Which blocks sound."""
    loudest = levels.max(initial=0.0)
    threshold = max(10 ** (QUIETEST_DB / 10), loudest * 10 ** (-RANGE_DB / 10))
    return levels > threshold


def sounding_starts(
    levels: Levels, time: int, chunk: int, sample_rate: int
) -> Int[np.ndarray, " start"]:
    """The blocks in which an excerpt of `chunk` samples may begin so that the stem sounds in it.

    That is in half of the excerpt or more (to a block).
    """
    block = block_length(sample_rate)
    count = np.concatenate([[0], np.cumsum(sounding(levels))])
    starts = np.arange(max(0, time - chunk) // block + 1)
    length = max(1, round(chunk / block))
    ends = np.minimum(starts + length, len(levels))
    return np.flatnonzero(count[ends] - count[starts] >= ENOUGH * length)


def draw_start(
    starts: Int[np.ndarray, " start"],
    time: int,
    chunk: int,
    sample_rate: int,
    random: np.random.Generator,
) -> int:
    """The first sample of an excerpt that begins in one of the blocks."""
    block = block_length(sample_rate)
    start = int(random.choice(starts)) * block + int(random.integers(block))
    return min(start, max(0, time - chunk))
