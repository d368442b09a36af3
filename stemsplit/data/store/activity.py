"""The activity map of a song: the blocks of 0.1 s in which each stem is active.

A stem is active in a block if its level there is above -60 dB full scale and less than 40 dB below
the stem's loudest block. (`stemsplit doctor` calls a stem near-silent if its level over the whole
song is below -60 dB.) The second condition excludes the bleed of other instruments.
"""

import numpy as np
from jaxtyping import Bool, Float32, Int

BLOCK_SECONDS = 0.1
QUIETEST_DB = -60.0  # lowest level of an active block, in dB full scale
RANGE_DB = 40.0  # an active block is at most this far below the stem's loudest block
# A stem is active in an excerpt if it is active in at least this share of the excerpt's blocks.
LEAST_SHARE = 0.5

Levels = Float32[np.ndarray, " block"]


def block_length(sample_rate: int) -> int:
    """Length of a block in samples."""
    return max(1, round(BLOCK_SECONDS * sample_rate))


def block_levels(samples: Float32[np.ndarray, "channel _"], time: int, sample_rate: int) -> Levels:
    """Return the mean square of a stem in every block of its song.

    The song has `time` samples. Blocks after the end of `samples` have a mean square of 0.
    """
    block = block_length(sample_rate)
    levels = np.zeros(-(-time // block), np.float32)
    full_blocks = samples.shape[1] // block
    blocks = samples[:, : full_blocks * block].reshape(len(samples), full_blocks, block)
    levels[:full_blocks] = np.einsum("cbt,cbt->b", blocks, blocks) / (len(samples) * block)
    last_block = samples[:, full_blocks * block :]
    if last_block.size:
        levels[full_blocks] = np.mean(np.square(last_block))
    return levels


def sounding(levels: Levels) -> Bool[np.ndarray, " block"]:
    """True for every block in which the stem is active."""
    loudest = levels.max(initial=0.0)
    threshold = max(10 ** (QUIETEST_DB / 10), loudest * 10 ** (-RANGE_DB / 10))
    return levels > threshold


def sounding_starts(
    levels: Levels, time: int, chunk: int, sample_rate: int
) -> Int[np.ndarray, " start"]:
    """Return the indices of the blocks at which an excerpt with an active stem may start.

    In such an excerpt, the stem is active in at least half of the blocks. `time` is the length of
    the song and `chunk` is the length of the excerpt, both in samples.
    """
    block = block_length(sample_rate)
    count = np.concatenate([[0], np.cumsum(sounding(levels))])
    starts = np.arange(max(0, time - chunk) // block + 1)
    length = max(1, round(chunk / block))
    ends = np.minimum(starts + length, len(levels))
    return np.flatnonzero(count[ends] - count[starts] >= LEAST_SHARE * length)


def draw_start(
    starts: Int[np.ndarray, " start"],
    time: int,
    chunk: int,
    sample_rate: int,
    random: np.random.Generator,
) -> int:
    """Draw the first sample of an excerpt that starts in one of the blocks `starts`."""
    block = block_length(sample_rate)
    start = int(random.choice(starts)) * block + int(random.integers(block))
    return min(start, max(0, time - chunk))
