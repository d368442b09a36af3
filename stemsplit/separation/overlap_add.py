"""Separate a long signal in overlapping chunks, and cross-fade their stems."""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from stemsplit.errors import InputError
from stemsplit.models.shapes import Stems, Waveform


def overlap_add(
    separate: Callable[[Waveform], Stems],
    signal: Waveform,
    stems: Float[Tensor, "stem batch channel time"],
    chunk: int,
    overlap: int,
    sample_rate: int,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Separate `signal` in chunks with `separate`; add the cross-faded results to `stems`.

    `chunk` and `overlap` are in samples. `progress` is called with the fraction done. Raises
    `InputError` if the stems of a chunk hold NaN or infinity.
    """
    time = signal.shape[-1]
    for start, weight in crossfades(time, chunk, overlap):
        place = slice(start, start + len(weight))
        separated = separate(signal[..., place])
        check_finite(separated, signal[..., place], start / sample_rate)
        stems[..., place] += separated.transpose(0, 1) * weight
        if progress is not None:
            progress((start + len(weight)) / time)


def crossfades(
    time: int, chunk: int, overlap: int
) -> Iterator[tuple[int, Float[Tensor, " sample"]]]:
    """Yield the start of each chunk and its weights; at every sample the weights sum to one."""
    ramp = (torch.arange(overlap) + 0.5) / overlap
    for start in range(0, max(1, time - overlap), chunk - overlap):
        weight = torch.ones(min(chunk, time - start))
        if start > 0:
            weight[:overlap] = ramp
        if start + chunk < time:
            weight[-overlap:] = 1 - ramp
        yield start, weight


def check_finite(stems: Tensor, mixture: Tensor, start_seconds: float) -> None:
    """Raise `InputError` if the stems of a chunk hold NaN or infinity."""
    if not stems.isfinite().all():
        raise InputError(
            f"the estimates of the chunk at {start_seconds:.2f} s contain NaN or infinity. The "
            f"largest sample of the mixture there is {mixture.abs().max():.3g}: if this is at most "
            "1, the checkpoint is damaged or its training diverged; otherwise scale the song down "
            "first"
        )
