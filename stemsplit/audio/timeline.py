"""Place decoded frames at their time stamps."""

from typing import Any, NamedTuple, cast

import av
import numpy as np

from stemsplit.audio.channels import to_layout
from stemsplit.audio.forms import Samples
from stemsplit.audio.lengths import Clock
from stemsplit.audio.resampling import resample

MOST_SECONDS_AT_ONCE = 600.0  # upper bound on preallocation; the length in a header may be wrong
# In a file that declares no length, a longer gap is taken for a wrong time stamp.
LONGEST_GAP_SECONDS = 600.0
# Beginnings of tags, which MP3 and AAC files may have between or after their frames.
TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")


class Gap(NamedTuple):
    """Missing samples, which are replaced by silence."""

    at_seconds: float
    seconds: float


class Timeline:
    """The frames of one stream at their positions, with silence in the gaps.

    `declared_seconds` is the length that the file declares, or None if it is unknown;
    `slack_seconds` is its rounding error. If `exact` (for lossless streams), one missing sample
    counts as a loss.
    """

    def __init__(
        self, clock: Clock, declared_seconds: float | None, exact: bool, slack_seconds: float
    ) -> None:
        self.clock = clock
        self.late_seconds = clock.late_seconds(clock.start)
        self.declared_seconds = declared_seconds
        self.exact = exact
        self.slack_seconds = slack_seconds
        self.parts: list[Part] = []
        self.gaps: list[Gap] = []
        self.failed: list[float] = []
        self.joints: list[float] = []
        self.longest_frame_seconds = 0.0
        self._stamp: float | None = None  # time stamp expected at the next frame
        self._failed_before = False  # a packet just before the next frame failed
        self._in_tag = False
        self._padding: list[float] = []

    @property
    def seconds(self) -> float:
        return sum(part.time / part.rate for part in self.parts)

    def fail(self, packet: bytes) -> None:
        """Record a packet that cannot be decoded. Tags are ignored, since they hold no audio."""
        self._in_tag = self._in_tag or packet.startswith(TAGS)
        if not self._in_tag:
            self._failed_before = True
            # A packet of zeros is a loss if another frame follows it; otherwise it is padding.
            at_seconds = self.seconds if self.parts else self.late_seconds
            (self.failed if any(packet) else self._padding).append(at_seconds)

    @property
    def ends_in_padding(self) -> bool:
        """Whether a tag or zeros follow the last frame."""
        return self._in_tag or bool(self._padding)

    def add(self, frame: av.AudioFrame) -> None:
        if not frame.samples:
            return
        part = self._part(frame)
        seconds = frame.samples / part.rate
        stamp = self._expected() if frame.pts is None else frame.pts * part.tick
        if self._stamp is None:
            self._begin(stamp, part)
        elif self._in_tag or stamp < self._stamp - self._tolerance(part):
            # Several files may be joined, and the time stamps start again in each of them.
            self.joints.append(self.seconds)
            self._stamp = stamp
        if gap := self._gap(stamp, seconds, part):
            self.gaps.append(Gap(self.seconds, gap / part.rate))
            part.add_silence(gap)
        part.add(frame)
        self.failed += self._padding
        self._padding = []
        self._stamp = stamp + seconds
        self._failed_before = self._in_tag = False
        self.longest_frame_seconds = max(self.longest_frame_seconds, seconds)

    def _begin(self, first_stamp: float, part: "Part") -> None:
        """Put silence before a stream that starts late."""
        # If a packet failed before the first frame, the time before that frame counts as lost.
        lost = self._failed_before
        start = self.clock.start if lost else self.clock.start_with(first_stamp)
        self.late_seconds = self.clock.late_seconds(start)
        part.add_silence(round(self.late_seconds * part.rate))
        # A lossy decoder may omit its first frame, which does not count as lost.
        self._stamp = start if lost or self.exact else first_stamp

    def _expected(self) -> float:
        return self.clock.start if self._stamp is None else self._stamp

    def _part(self, frame: av.AudioFrame) -> "Part":
        if not self.parts or not self.parts[-1].takes(frame):
            seconds = 0.0 if self.parts else self.late_seconds + (self.declared_seconds or 0.0)
            self.parts.append(Part(frame, min(seconds, MOST_SECONDS_AT_ONCE)))
        return self.parts[-1]

    def _gap(self, stamp: float, seconds: float, part: "Part") -> int:
        """Return the number of samples missing before a frame of this time stamp and length."""
        missing = stamp - self._expected()
        if missing <= self._tolerance(part) or not self._is_plausible(missing, stamp + seconds):
            return 0
        whole_frames = round(missing / seconds) * seconds
        if part.tick * part.rate > 1 and abs(missing - whole_frames) <= 2 * part.tick:
            missing = whole_frames
        return round(missing * part.rate)

    def _tolerance(self, part: "Part") -> float:
        """Return the possible error of a time stamp, in seconds."""
        rounding = 2 * part.tick
        if self.exact or self._failed_before:
            return rounding
        # Time stamps of lossy streams may jitter; a loss is at least one frame.
        return max(rounding, self.longest_frame_seconds / 2)

    def _is_plausible(self, missing: float, end_stamp: float) -> bool:
        if self.declared_seconds is None:
            return missing <= LONGEST_GAP_SECONDS
        return end_stamp <= self.clock.start + self.declared_seconds + 1

    def missing_seconds(self) -> float:
        """Return declared minus decoded length in seconds, or 0 if that is within the tolerance."""
        if self.declared_seconds is None:
            return 0.0
        missing = self.late_seconds + self.declared_seconds - self.seconds
        # A lossy decoder may cut the delay of the codec at the start, and its padding at the end.
        tolerance = 0.5 / self.parts[0].rate if self.exact else 2 * self.longest_frame_seconds
        return missing if missing > tolerance + self.slack_seconds else 0.0

    def samples(self) -> Samples:
        """Return all parts, converted to the sample rate and layout of the first."""
        first = self.parts[0]
        if len(self.parts) == 1:
            return first.samples
        return np.concatenate([part.converted(first) for part in self.parts], axis=1)

    def forms(self) -> list[tuple[int, str]]:
        """Return every sample rate and layout of the stream, each pair once."""
        return list(dict.fromkeys((part.rate, part.layout) for part in self.parts))


class Part:
    """Frames of one rate, layout and sample format, in one growing buffer."""

    def __init__(self, frame: av.AudioFrame, seconds: float) -> None:
        self.rate = frame.sample_rate
        self.layout = frame.layout.name
        self.format = frame.format.name
        self.tick = float(frame.time_base or 0)  # seconds per unit of a time stamp
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
        is_planar_float = self.format == "fltp"
        for planar in [frame] if is_planar_float else self.to_planar_float.resample(frame):
            room = self._room(planar.samples)
            for row, plane in zip(room, planar.planes, strict=True):
                row[:] = np.frombuffer(cast(Any, plane), np.float32, planar.samples)

    def add_silence(self, samples: int) -> None:
        self._room(samples)[:] = 0

    def _room(self, samples: int) -> Samples:
        """Return the next `samples` samples of the buffer, which grows if needed."""
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
