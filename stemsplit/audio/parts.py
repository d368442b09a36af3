"""Convert decoded frames to the sample rate and the layout of the first frame of their stream."""

from collections.abc import Iterator

import av
import numpy as np

from stemsplit.audio.channels import to_layout
from stemsplit.audio.forms import Samples
from stemsplit.audio.resampling import StreamResampler
from stemsplit.errors import InputError

SILENCE = 2**16  # most samples in a block of silence
MOST_PLANES = 7  # PyAV 18 reads beyond the end of a planar frame that has more channels
RATES = range(100, 3_000_000)  # Hz; a damaged header may hold any number


class Part:
    """Consecutive frames of one rate, layout and sample format.

    The samples are converted to the rate and the layout of `first`, the first part of the stream.
    `first` is None in the first part itself. `time` counts the samples before this conversion.
    Raises `InputError` for an impossible sample rate.
    """

    def __init__(self, frame: av.AudioFrame, first: "Part | None") -> None:
        self.rate = frame.sample_rate
        self.layout = frame.layout.name
        self.format = frame.format.name
        self.channels = frame.layout.nb_channels
        self.tick = float(frame.time_base or 0)  # seconds per unit of a time stamp
        self.time = 0
        if self.rate not in RATES:
            raise InputError(f"its sample rate of {self.rate:,} Hz is impossible; copy it again")
        self._to_float = av.AudioResampler(format="flt")
        self._target_layout = self.layout if first is None else first.layout
        self._resampler: StreamResampler | None = None
        if first is not None and first.rate != self.rate:
            self._resampler = StreamResampler(self.rate, first.rate, first.channels)

    def takes(self, frame: av.AudioFrame) -> bool:
        form = (frame.sample_rate, frame.layout.name, frame.format.name)
        return form == (self.rate, self.layout, self.format)

    def planar(self, frame: av.AudioFrame) -> Samples:
        """Return the samples of a frame, not yet converted to the rate and layout of `first`."""
        if self.format == "fltp" and self.channels <= MOST_PLANES:
            return frame.to_ndarray()
        frames = [packed.to_ndarray() for packed in self._to_float.resample(frame)]
        return np.concatenate(frames, axis=1).reshape(-1, self.channels).T

    def add(self, samples: Samples) -> Iterator[Samples]:
        """Convert samples of this part to the rate and layout of `first`, and yield them."""
        self.time += samples.shape[1]
        if self.layout != self._target_layout:
            samples = to_layout(samples, self.layout, self._target_layout)
        if self._resampler is not None:
            # The joined blocks equal the result of `resample` on the whole part, bit for bit.
            samples = self._resampler.add(samples)
        if samples.size:
            yield samples

    def silence(self, time: int) -> Iterator[Samples]:
        for start in range(0, time, SILENCE):
            yield from self.add(np.zeros((self.channels, min(SILENCE, time - start)), np.float32))

    def end(self) -> Iterator[Samples]:
        """Yield the samples that the resampler has held back."""
        if self._resampler is not None:
            rest = self._resampler.end()
            self._resampler = None
            if rest.size:
                yield rest
