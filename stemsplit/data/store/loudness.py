"""Refuse samples far above full scale, as in damaged files or integers stored as floats."""

import numpy as np
from jaxtyping import Float, Int16

from stemsplit.data.tracks import Track
from stemsplit.errors import InputError

# Full scale is 1. Floating-point mixes and decoded lossy files exceed 1, but stay far below 100.
LOUDEST = 100.0
INTEGERS = (2**7, 2**15, 2**23, 2**31)  # full scale of signed integers of 8, 16, 24 and 32 bits

Samples = Float[np.ndarray, "channel time"] | Int16[np.ndarray, "channel time"]


def loud_text(samples: Samples, sample_rate: int, unit: float = 1.0) -> str | None:
    """Describe the position and value of the loudest sample if it exceeds `LOUDEST`, else None.

    A value of 1 in `samples` stands for `unit`.
    """
    highest, lowest = float(samples.max(initial=0)), float(samples.min(initial=0))
    peak = max(highest, -lowest) * unit
    if peak <= LOUDEST:
        return None
    extreme = highest if highest >= -lowest else lowest
    seconds = int(np.argmax((samples == extreme).any(axis=0))) / sample_rate
    place = f"reaches {extreme * unit:g} at {seconds:.2f} s, but full scale is 1"
    sounding = np.abs(samples[samples != 0].astype(np.float64)) * unit
    full_scale = next((limit for limit in INTEGERS if peak <= limit), None)
    if full_scale is not None and np.median(sounding) > 1:
        return f"{place}: the samples are integers stored as floats; divide them by {full_scale}"
    return f"{place}: the file is damaged; export it again or remove it"


def refuse_loud(track: Track, samples: np.ndarray, unit: float, sample_rate: int) -> None:
    """Raise `InputError` if a stream of a decoded track exceeds `LOUDEST`.

    The training loss of such a track would be NaN. `samples` has the shape (row, channel, time), as
    in `Decoded`.
    """
    streams = {**({"mixture": track.mixture} if track.mixture else {}), **track.stems}
    for source, row in zip(streams.values(), samples, strict=True):
        if source is not None and (text := loud_text(row, sample_rate, unit)) is not None:
            raise InputError(f"{source.path}: {text}")
