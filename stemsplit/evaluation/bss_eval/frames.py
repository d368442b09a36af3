"""The windows in which BSS Eval scores a song, and the windows that it skips."""

from functools import reduce
from numbers import Integral
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from stemsplit.errors import InputError
from stemsplit.terminal.counts import counted

# (stem, time, channel). The annotations leave the axes open, because `checked_pair` compares the
# shapes and has a better error message.
Signals = Float[Tensor, "_ _ _"] | Float[np.ndarray, "_ _ _"]


class Silence(NamedTuple):
    """A reason why a frame has no score: one reference or estimate is silent in this frame.

    `cancels` is true if the channels are not silent but sum to zero (antiphase); museval treats
    this as silence.
    """

    signal: str  # "reference" or "estimate"
    stem: int
    cancels: bool

    def __str__(self) -> str:
        return f"{self.signal} {'has channels that cancel' if self.cancels else 'is silent'}"


def dropped(references: Signals, estimates: Signals, window: int, hop: int) -> list[list[Silence]]:
    """List the reasons why `bss_eval` does not score a frame, with one list per frame.

    The list of a scored frame is empty.

    ``Counter(silence for frame in dropped(…) for silence in frame)`` counts the reasons. Raises
    `InputError` as `bss_eval` does.
    """
    pair = checked_pair(references, estimates)
    spans = frames(pair[0].shape[1], window, hop)
    reasons: list[list[Silence]] = [[] for _ in spans]
    for signal, stems in zip(("reference", "estimate"), pair, strict=True):
        for stem, frame in (~audible_frames(stems, window, hop)).nonzero().tolist():
            cancels = bool(stems[stem, spans[frame]].any())
            reasons[frame].append(Silence(signal, stem, cancels))
    return reasons


def frames(time: int, window: int, hop: int) -> list[slice]:
    """The windows that lie completely inside a song; a shorter song is a single frame.

    All lengths are in samples. Raises `InputError` if `window` or `hop` is not an integer of at
    least 1.
    """
    if not all(isinstance(length, Integral) and length >= 1 for length in (window, hop)):
        raise InputError(f"window ({window}) and hop ({hop}) must be integers of at least 1 sample")
    if window >= time:
        return [slice(0, time)]
    return [slice(start, start + window) for start in range(0, time - window + 1, hop)]


def audible_frames(
    stems: Float[Tensor, "stem time channel"], window: int, hop: int
) -> Bool[Tensor, "stem frame"]:
    """Whether museval counts a stem as audible in each frame.

    This is so if the sum of the stem's channels has a non-zero sample.
    """
    window = min(window, stems.shape[1])
    downmixes = (reduce(torch.add, stem.unbind(-1)) for stem in stems)
    # `any` would take twice as long as `abs` and `amax`.
    return torch.stack([x.unfold(0, window, hop).abs().amax(dim=1) > 0 for x in downmixes])


def checked_pair(
    references: Signals, estimates: Signals
) -> tuple[Float[Tensor, "stem time channel"], Float[Tensor, "stem time channel"]]:
    """Return references and estimates as tensors.

    Raises `InputError` if the shapes differ or are empty, or if a signal contains NaN or infinity.
    """
    pair = tensor(references), tensor(estimates)
    shapes = [tuple(stems.shape) for stems in pair]
    if shapes[0] != shapes[1] or 0 in shapes[0]:
        raise InputError(
            f"references {shapes[0]} and estimates {shapes[1]} must have the same stems, samples "
            "and channels, at least one of each"
        )
    for signal, stems in zip(("reference", "estimate"), pair, strict=True):
        for number, stem in enumerate(stems):
            # For single channels, `aminmax` is fast in every memory layout.
            bounds = [torch.stack(channel.aminmax()) for channel in stem.T]
            if not torch.stack(bounds).isfinite().all():
                finite = stem.isfinite().all(dim=1)
                first = int(finite.int().argmin())
                bad = counted(int((~finite).sum()), "sample")
                raise InputError(
                    f"the {signal} of stem {number} has {bad} with NaN or infinity, the first at "
                    f"{first}: it cannot be scored"
                )
    return pair


def tensor(stems: Signals) -> Float[Tensor, "stem time channel"]:
    """Convert to a tensor without gradients.

    An array that is not contiguous is copied, because torch does not support negative strides.
    """
    if isinstance(stems, Tensor):
        return stems.detach()
    return torch.from_numpy(np.ascontiguousarray(stems))
