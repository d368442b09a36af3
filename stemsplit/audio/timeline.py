"""Put the decoded frames of a stream where their time stamps say."""

from typing import Any, NamedTuple, cast

import av
import numpy as np

from stemsplit.audio.channels import to_layout
from stemsplit.audio.forms import Samples
from stemsplit.audio.resampling import resample

MOST_SECONDS_AT_ONCE = 600.0  # upper bound on preallocation; the length in a header may be wrong
LONGEST_GAP_SECONDS = 600.0  # a longer one is a wrong time stamp, where the length is unknown


class Gap(NamedTuple):
    """Samples that are missing, and are silent instead."""

    at_seconds: float
    seconds: float


class Timeline:
    """The frames of one stream. A gap becomes silence, so that what follows does not move.

    `declared_seconds` is how long the file says that the stream is (None: unknown), and
    `start_seconds` is how late it starts.
    """

    def __init__(
        self, start_seconds: float, declared_seconds: float | None, first_stamp: float, exact: bool
    ) -> None:
        self.start_seconds = start_seconds
        self.declared_seconds = declared_seconds
        self.first_stamp = first_stamp
        self.exact = exact
        self.parts: list[Part] = []
        self.gaps: list[Gap] = []
        self.failed: list[float] = []
        self.jumps: list[float] = []
        self.longest_frame_seconds = 0.0
        self._stamp: float | None = None  # at which the next frame is expected
        self._failed_before = False  # the next frame

    @property
    def seconds(self) -> float:
        return sum(part.time / part.rate for part in self.parts)

    def fail(self) -> None:
        """A packet cannot be decoded."""
        self.failed.append(self.seconds if self.parts else self.start_seconds)
        self._failed_before = True

    def add(self, frame: av.AudioFrame) -> None:
        seconds = frame.samples / frame.sample_rate
        stamp = self._expected()
        if frame.pts is not None and frame.time_base is not None:
            stamp = frame.pts * float(frame.time_base)
        part = self._part(frame)
        if gap := self._gap(stamp, frame):
            self.gaps.append(Gap(self.seconds, gap / part.rate))
            part.add_silence(gap)
        part.add(frame)
        self._stamp = stamp + seconds
        self._failed_before = False
        self.longest_frame_seconds = max(self.longest_frame_seconds, seconds)

    def _expected(self) -> float:
        return self.first_stamp if self._stamp is None else self._stamp

    def _part(self, frame: av.AudioFrame) -> "Part":
        if not self.parts or not self.parts[-1].takes(frame):
            seconds = 0.0 if self.parts else self.start_seconds + (self.declared_seconds or 0.0)
            part = Part(frame, min(seconds, MOST_SECONDS_AT_ONCE))
            if not self.parts:
                part.add_silence(round(self.start_seconds * part.rate))
            self.parts.append(part)
        return self.parts[-1]

    def _gap(self, stamp: float, frame: av.AudioFrame) -> int:
        """How many samples are missing before a frame."""
        if self._stamp is None and not self._failed_before and not self.exact:
            return 0  # a lossy decoder may keep its first frame back
        missing = stamp - self._expected()
        seconds = frame.samples / frame.sample_rate
        tick = float(frame.time_base or 0)
        tolerance = 2 * tick  # time stamps may be rounded to milliseconds
        if not self.exact and not self._failed_before:
            # Those of lossy streams may jitter; a loss there is a whole frame or more.
            tolerance = max(tolerance, self.longest_frame_seconds / 2)
        if missing < -tolerance:
            self.jumps.append(self.seconds)  # a part that was joined on counts from its own start
        if missing <= tolerance or not self._is_plausible(missing, stamp + seconds):
            return 0
        whole_frames = round(missing / seconds) * seconds
        if tick * frame.sample_rate > 1 and abs(missing - whole_frames) <= 2 * tick:
            missing = whole_frames
        return round(missing * frame.sample_rate)

    def _is_plausible(self, missing: float, end_stamp: float) -> bool:
        if self.declared_seconds is None:
            return missing <= LONGEST_GAP_SECONDS
        return end_stamp <= self.first_stamp + self.declared_seconds + 1

    def missing_seconds(self) -> float:
        """How much shorter the stream is than its file declares."""
        if self.declared_seconds is None:
            return 0.0
        missing = self.start_seconds + self.declared_seconds - self.seconds
        if self.exact:
            return missing if round(missing * self.parts[0].rate) > 0 else 0.0
        # A lossy decoder may trim its delay at either end.
        return missing if missing > 2 * self.longest_frame_seconds else 0.0

    def samples(self) -> Samples:
        """All parts, in the form of the first."""
        first = self.parts[0]
        if len(self.parts) == 1:
            return first.samples
        return np.concatenate([part.converted(first) for part in self.parts], axis=1)

    def forms(self) -> list[tuple[int, str]]:
        """Rate and layout of the stream, each once; more than one where it changes."""
        return list(dict.fromkeys((part.rate, part.layout) for part in self.parts))


class Part:
    """Frames of one rate, layout and sample format, in one growing buffer."""

    def __init__(self, frame: av.AudioFrame, seconds: float) -> None:
        self.rate = frame.sample_rate
        self.layout = frame.layout.name
        self.format = frame.format.name
        self.time = 0
        channels = frame.layout.nb_channels
        self.buffer = np.empty((channels, round(seconds * self.rate)), np.float32)
        self.to_planar_float = av.AudioResampler(format="fltp")

    def takes(self, frame: av.AudioFrame) -> bool:
        form = (frame.sample_rate, frame.layout.name, frame.format.name)
        return form == (self.rate, self.layout, self.format)

    @property
    def samples(self) -> Samples:
        return self.buffer[:, : self.time]

    def add(self, frame: av.AudioFrame) -> None:
        # Lossy codecs give planar floats as they are: no detour for them.
        same = self.format == "fltp"
        for planar in [frame] if same else self.to_planar_float.resample(frame):
            place = self._room(planar.samples)
            for row, plane in zip(place, planar.planes, strict=True):
                row[:] = np.frombuffer(cast(Any, plane), np.float32, planar.samples)

    def add_silence(self, samples: int) -> None:
        self._room(samples)[:] = 0

    def _room(self, samples: int) -> Samples:
        """The next samples of the buffer, to be filled."""
        start, end = self.time, self.time + samples
        if end > self.buffer.shape[1]:
            longer = np.empty((len(self.buffer), max(end, 2 * start)), np.float32)
            longer[:, :start] = self.samples
            self.buffer = longer
        self.time = end
        return self.buffer[:, start:end]

    def converted(self, like: "Part") -> Samples:
        samples = to_layout(self.samples, self.layout, like.layout)
        return resample(samples, self.rate, like.rate)
