"""The windows in which BSS Eval scores a song, and the windows that it skips."""

from functools import reduce
from numbers import Integral
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from stemsplit.errors import InputError

# (stem, time, channel); whether two of them fit, `matched` says with the numbers.
Signals = Float[Tensor, "_ _ _"] | Float[np.ndarray, "_ _ _"]


class Silence(NamedTuple):
    """What keeps a frame from being scored: a stem's reference or estimate is silent in it.

    Or its channels sum to zero (`cancels`: antiphase), which museval takes for silence as well.
    """

    signal: str  # "reference" or "estimate"
    stem: int
    cancels: bool

    def __str__(self) -> str:
        return f"{self.signal} {'has channels that cancel' if self.cancels else 'is silent'}"


def dropped(references: Signals, estimates: Signals, window: int, hop: int) -> list[list[Silence]]:
    """For each frame, why `bss_eval` has no scores of it; an empty list where it has.

    ``Counter(silence for frame in dropped(…) for silence in frame)`` counts the reasons. Raises
    `InputError` as `bss_eval` does.
    """
    pair = matched(references, estimates)
    spans = frames(pair[0].shape[1], window, hop)
    reasons: list[list[Silence]] = [[] for _ in spans]
    for signal, stems in zip(("reference", "estimate"), pair, strict=True):
        for stem, frame in (~heard(stems, window, hop)).nonzero().tolist():
            cancels = bool(stems[stem, spans[frame]].any())
            reasons[frame].append(Silence(signal, stem, cancels))
    return reasons


def frames(time: int, window: int, hop: int) -> list[slice]:
    """Windows that lie in a song as a whole; a song shorter than one is a frame of its own."""
    if not all(isinstance(length, Integral) and length >= 1 for length in (window, hop)):
        raise InputError(f"window ({window}) and hop ({hop}) must be whole samples, at least one")
    if window >= time:
        return [slice(0, time)]
    return [slice(start, start + window) for start in range(0, time - window + 1, hop)]


def heard(
    stems: Float[Tensor, "stem time channel"], window: int, hop: int
) -> Bool[Tensor, "stem frame"]:
    """Where museval hears a stem: some sample of the frame is not zero, summed over channels."""
    window = min(window, stems.shape[1])
    downmixes = (reduce(torch.add, stem.unbind(-1)) for stem in stems)
    return torch.stack([downmix.unfold(0, window, hop).any(dim=1) for downmix in downmixes])


def matched(
    references: Signals, estimates: Signals
) -> tuple[Float[Tensor, "stem time channel"], Float[Tensor, "stem time channel"]]:
    """Both as tensors; `InputError` where their shapes differ or a sample is not finite."""
    pair = tensor(references), tensor(estimates)
    shapes = [tuple(stems.shape) for stems in pair]
    if shapes[0] != shapes[1] or 0 in shapes[0]:
        raise InputError(
            f"references {shapes[0]} and estimates {shapes[1]} must have the same stems, samples "
            "and channels, at least one of each"
        )
    for signal, stems in zip(("reference", "estimate"), pair, strict=True):
        for number, stem in enumerate(stems):
            if not torch.stack(stem.aminmax()).isfinite().all():
                finite = stem.isfinite().all(dim=1)
                first = int(finite.int().argmin())
                raise InputError(
                    f"the {signal} of stem {number} has {int((~finite).sum())} samples that are "
                    f"not finite numbers, the first at {first}: a score of it would mean nothing"
                )
    return pair


def tensor(stems: Signals) -> Float[Tensor, "stem time channel"]:
    """Without its history of gradients; an array is copied where its strides are not torch's."""
    if isinstance(stems, Tensor):
        return stems.detach()
    return torch.from_numpy(np.ascontiguousarray(stems))
