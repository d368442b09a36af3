"""Change the sample rate."""

import numpy as np
import soxr
from jaxtyping import Float32

from stemsplit.audio.forms import Samples


def resample(
    samples: Samples, source_rate: int, rate: int
) -> Float32[np.ndarray, "channel resampled"]:
    """Resample with soxr's high-quality filter; frequencies above half of `rate` are removed."""
    if source_rate == rate:
        return samples
    return np.ascontiguousarray(soxr.resample(samples.T, source_rate, rate).T)
