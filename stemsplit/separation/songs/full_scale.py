"""Count, limit or rescale samples beyond full scale (±1)."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

import numpy as np

from stemsplit.separation.songs.selection import StemBlock
from stemsplit.terminal.counts import counted

MODES = ("report", "rescale", "clamp", "none")
# A peak of 1 would leave no room for the dither, and would exceed the largest sample of 16 and 24
# bits, which is just below 1.
RESCALED_PEAK = 0.999


def limited(blocks: Iterable[StemBlock], counts: list[int]) -> Iterator[StemBlock]:
    """Clip samples to ±1, and add the number of clipped samples of each stem to `counts`."""
    for block in blocks:
        if max(block.max(initial=0), -block.min(initial=0)) > 1:
            for stem, samples in enumerate(block):
                counts[stem] += int(np.count_nonzero(np.abs(samples) > 1))
            block = np.clip(block, -1, 1)
        yield block


def rescaled(blocks: Iterable[StemBlock], folder: Path, notes: list[str]) -> Iterator[StemBlock]:
    """Multiply all stems by one factor, so that the largest peak is `RESCALED_PEAK`.

    If no sample is beyond ±1, the factor is 1. Otherwise, a line with the factor is added to
    `notes`. The factor depends on the whole song, so the blocks are first written to a temporary
    file in `folder`, with 4 bytes per sample.
    """
    peak = 0.0
    shapes: list[tuple[int, ...]] = []
    with TemporaryFile(dir=folder) as file:
        for block in blocks:
            _write(file, block, folder)
            shapes.append(block.shape)
            peak = max(peak, float(block.max(initial=0)), -float(block.min(initial=0)))
        factor = 1.0
        if peak > 1:
            factor = RESCALED_PEAK / peak
            notes.append(
                f"the stems reach {peak:.3g}: all of them are multiplied by {factor:.4f} "
                f"({20 * np.log10(factor):+.2f} dB)"
            )
        file.seek(0)
        for shape in shapes:
            samples = np.frombuffer(file.read(4 * math.prod(shape)), np.float32)
            yield samples.reshape(shape) * np.float32(factor)


def _write(file: BinaryIO, block: StemBlock, folder: Path) -> None:
    try:
        file.write(np.ascontiguousarray(block).data)
    except OSError as error:
        error.filename = str(folder)  # for the message; the temporary file has no name
        raise


def limits_text(stems: Sequence[str], counts: Sequence[int]) -> str:
    """Describe how many samples of each stem were clipped; return "" if none were."""
    parts = [
        f"{counted(count, 'sample')} of {stem}"
        for stem, count in zip(stems, counts, strict=True)
        if count
    ]
    if not parts:
        return ""
    return (
        f"clipped to full scale: {', '.join(parts)} (--clip rescale lowers the level instead; "
        "--format wav --bit-depth 32f keeps such samples)"
    )
