"""The type of decoded audio."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

Samples = Float32[np.ndarray, "channel time"]


class Audio(NamedTuple):
    """Samples in ±1 (lossy and floating-point streams may exceed ±1), and facts about their source.

    `sixteen_bit` is true if 16 bits per sample suffice: the source is lossy or has at most 16 bits.
    `layout` is FFmpeg's name of the channel layout: "5.1(side)", or "6 channels" if the file does
    not name its channels.
    """

    samples: Samples
    sample_rate: int
    sixteen_bit: bool
    lossless: bool
    layout: str
