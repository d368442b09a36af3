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


class StreamResampler:
    """Resample a signal in blocks. The joined blocks are equal to the result of `resample`."""

    def __init__(self, source_rate: int, rate: int, channels: int) -> None:
        self._stream = soxr.ResampleStream(source_rate, rate, channels)
        self._channels = channels

    def add(self, samples: Samples) -> Float32[np.ndarray, "channel resampled"]:
        """Return the samples that are ready; the filter holds back a few."""
        return np.ascontiguousarray(self._stream.resample_chunk(np.ascontiguousarray(samples.T)).T)

    def end(self) -> Float32[np.ndarray, "channel resampled"]:
        """Return the samples that the filter held back. No block may follow."""
        nothing = np.zeros((0, self._channels), np.float32)
        return np.ascontiguousarray(self._stream.resample_chunk(nothing, last=True).T)
