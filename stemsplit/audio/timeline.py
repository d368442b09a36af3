"""Place decoded frames at their time stamps."""

from collections.abc import Iterator
from typing import NamedTuple

import av

from stemsplit.audio.forms import Samples
from stemsplit.audio.lengths import Clock
from stemsplit.audio.parts import Part

# Upper bound in seconds on the total silence in the gaps, and also on the silence before a late
# start. A longer silence is treated as a wrong time stamp.
MOST_SILENCE_SECONDS = 600.0
# Beginnings of tags, which MP3 and AAC files may have between or after their frames.
TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")


class Gap(NamedTuple):
    """Missing samples, which are replaced by silence."""

    at_seconds: float
    seconds: float


class Timeline:
    """The frames of one stream at their positions, with silence in the gaps.

    `add` and `end` yield the samples; the timeline itself keeps at most the end of the last frame.
    All samples have the rate and the layout of the first frame.

    `declared_seconds` is the length that the file declares, or None if it is unknown;
    `slack_seconds` is the rounding error of this length. If `exact` is true (for lossless streams),
    a stream with one missing sample at its end counts as incomplete. `failed` holds the positions
    in seconds at which packets could not be decoded. `joints` holds the positions in seconds at
    which another file was joined. `ends_early` says whether the file cannot be read to its end.
    """

    def __init__(
        self, clock: Clock, declared_seconds: float | None, exact: bool, slack_seconds: float
    ) -> None:
        self.clock = clock
        self.late_seconds = _plausible(clock.late_seconds(clock.start))
        self.declared_seconds = declared_seconds
        self.exact = exact
        self.slack_seconds = slack_seconds
        self.parts: list[Part] = []
        self.gaps: list[Gap] = []
        self.failed: list[float] = []
        self.joints: list[float] = []
        self.longest_frame_seconds = 0.0
        self.ends_early = False
        self._stamp: float | None = None  # time stamp expected at the next frame
        self._failed_before = False  # a packet just before the next frame failed
        self._in_tag = False
        self._padding: list[float] = []
        self._rest: Samples | None = None  # end of the last frame; padding if no frame follows
        self._silent_seconds = 0.0

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

    def add(self, frame: av.AudioFrame, stated_seconds: float | None = None) -> Iterator[Samples]:
        """Yield the samples held back before, silence for a gap, and the samples of this frame.

        `stated_seconds` is the length of the frame in the index of the file. If the frame is
        longer, its end may be padding of the encoder, and `add` holds this end back. If another
        frame follows, the end is yielded. Otherwise, it is padding and is left out.
        """
        if not frame.samples:
            return
        yield from self._keep_rest()
        if not self.parts or not self.parts[-1].takes(frame):
            if self.parts:
                yield from self.parts[-1].end()
            self.parts.append(Part(frame, self.parts[0] if self.parts else None))
        part = self.parts[-1]
        seconds = frame.samples / part.rate
        stamp = self._expected() if frame.pts is None else frame.pts * part.tick
        if self._stamp is None:
            yield from self._begin(stamp, part)
        elif self._in_tag or stamp < self._stamp - self._tolerance(part):
            # Several files may be joined, and the time stamps start again in each of them.
            self.joints.append(self.seconds)
            self._stamp = stamp
        if gap := self._gap(stamp, seconds, part):
            self.gaps.append(Gap(self.seconds, gap / part.rate))
            self._silent_seconds += gap / part.rate
            yield from part.silence(gap)
        samples = part.planar(frame)
        kept = _stated_samples(samples.shape[1], stated_seconds, part)
        yield from part.add(samples[:, :kept])
        self._rest = samples[:, kept:]
        self.failed += self._padding
        self._padding = []
        self._stamp = stamp + seconds
        self._failed_before = self._in_tag = False
        self.longest_frame_seconds = max(self.longest_frame_seconds, seconds)

    def end(self) -> Iterator[Samples]:
        """Leave out the padding, and yield the samples that the resampler has held back."""
        self._rest = None
        if self.parts:
            yield from self.parts[-1].end()

    def _keep_rest(self) -> Iterator[Samples]:
        if self._rest is not None and self._rest.size:
            yield from self.parts[-1].add(self._rest)
        self._rest = None

    def _begin(self, first_stamp: float, part: Part) -> Iterator[Samples]:
        """Yield the silence before a stream that starts late."""
        # If a packet failed before the first frame, the time before that frame counts as lost.
        lost = self._failed_before
        start = self.clock.start if lost else self.clock.start_with(first_stamp)
        self.late_seconds = _plausible(self.clock.late_seconds(start))
        yield from part.silence(round(self.late_seconds * part.rate))
        # A lossy decoder may omit its first frame, which does not count as lost.
        self._stamp = start if lost or self.exact else first_stamp

    def _expected(self) -> float:
        return self.clock.start if self._stamp is None else self._stamp

    def _gap(self, stamp: float, seconds: float, part: Part) -> int:
        """Return the number of samples missing before a frame of this time stamp and length."""
        missing = stamp - self._expected()
        if missing <= self._tolerance(part) or not self._is_plausible(missing, stamp + seconds):
            return 0
        whole_frames = round(missing / seconds) * seconds
        if part.tick * part.rate > 1 and abs(missing - whole_frames) <= 2 * part.tick:
            missing = whole_frames
        return round(missing * part.rate)

    def _tolerance(self, part: Part) -> float:
        """Return the possible error of a time stamp, in seconds."""
        rounding = max(2 * part.tick, self.clock.error_seconds)
        if self.exact or self._failed_before:
            return rounding
        # Time stamps of lossy streams may jitter; a loss is at least one frame.
        return max(rounding, self.longest_frame_seconds / 2)

    def _is_plausible(self, missing: float, end_stamp: float) -> bool:
        if self._silent_seconds + missing > MOST_SILENCE_SECONDS:
            return False
        if self.declared_seconds is None:
            return True
        return end_stamp <= self.clock.start + self.declared_seconds + 1

    def missing_seconds(self) -> float:
        """Return the seconds that are missing at the end; 0 if they are within tolerance."""
        if self.declared_seconds is None:
            return 0.0
        # `seconds` includes the silence before a late start, which `declared_seconds` lacks.
        missing = self.late_seconds + self.declared_seconds - self.seconds
        # A lossy decoder may cut the delay of the codec at the start, and its padding at the end.
        tolerance = 0.5 / self.parts[0].rate if self.exact else 2 * self.longest_frame_seconds
        return missing if missing > tolerance + self.slack_seconds else 0.0

    def forms(self) -> list[tuple[int, str]]:
        """Return every sample rate and layout of the stream, each pair once."""
        return list(dict.fromkeys((part.rate, part.layout) for part in self.parts))


def _plausible(late_seconds: float) -> float:
    return late_seconds if late_seconds <= MOST_SILENCE_SECONDS else 0.0


def _stated_samples(samples: int, stated_seconds: float | None, part: Part) -> int:
    """Return how many samples of a frame are audio according to the index of the file."""
    if stated_seconds is None or part.tick * part.rate > 1:  # the time stamps are too coarse
        return samples
    return min(samples, round(stated_seconds * part.rate))
