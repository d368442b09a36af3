"""Settings of a separation that do not belong to the network."""

import math
from typing import NamedTuple

from stemsplit.errors import InputError

# The filter converges within a few iterations.
MOST_WIENER_ITERATIONS = 100


class Inference(NamedTuple):
    """How to separate a song. None stands for the separator's own value.

    A song is separated in chunks of `chunk_seconds`, which overlap by `overlap_seconds` and are
    cross-faded. The Wiener filter works within a chunk. With 4 `shifts`, the song is separated four
    times, with chunks at other positions, and the results are averaged (the "shift trick" of
    Demucs); this takes four times as long. `batch` is the number of chunks that the network
    processes at once; by default it grows up to a limit, or until the memory is full.
    """

    wiener_iterations: int | None = None
    chunk_seconds: float | None = None
    overlap_seconds: float | None = None
    shifts: int = 1
    batch: int | None = None

    def check(self) -> None:
        """Raise `InputError` if a number is out of its range or is not a whole number."""
        for name, seconds in (
            ("chunk_seconds", self.chunk_seconds),
            ("overlap_seconds", self.overlap_seconds),
        ):
            if seconds is not None and not 0 < seconds < math.inf:
                raise InputError(f"{name} {seconds} must be a number above 0")
        for name, value, lowest, highest in (
            ("wiener_iterations", self.wiener_iterations, 0, MOST_WIENER_ITERATIONS),
            ("shifts", self.shifts, 1, None),
            ("batch", self.batch, 1, None),
        ):
            if value is None:
                continue
            if not isinstance(value, int) or value < lowest:
                raise InputError(f"{name} {value} must be a whole number, {lowest} or more")
            if highest is not None and value > highest:
                raise InputError(f"{name} {value} must be {highest} or less")

    def chunk_and_overlap(self, chunk: int, overlap: int, sample_rate: int) -> tuple[int, int]:
        """Return the chunk and the overlap in samples, for a separator's own `chunk` and `overlap`.

        Raises `InputError` if they do not fit together.
        """
        if self.chunk_seconds is None and self.overlap_seconds is None:
            return chunk, overlap
        chunk_seconds = self.chunk_seconds or chunk / sample_rate
        own_overlap = min(overlap / sample_rate, chunk_seconds / 2)
        return chunk_and_overlap(chunk_seconds, self.overlap_seconds or own_overlap, sample_rate)


def chunk_and_overlap(
    chunk_seconds: float, overlap_seconds: float, sample_rate: int
) -> tuple[int, int]:
    """Return chunk and overlap in samples; raise `InputError` if they do not fit together."""
    if not 0 < 2 * overlap_seconds <= chunk_seconds < math.inf:
        raise InputError(
            f"chunks of {chunk_seconds} s cannot overlap by {overlap_seconds} s: choose an "
            f"overlap above 0 s, up to {chunk_seconds / 2} s"
        )
    chunk = round(chunk_seconds * sample_rate)
    # Rounding could give more than half a chunk; then the cross-fades would not sum to one.
    overlap = min(round(overlap_seconds * sample_rate), chunk // 2)
    if not overlap:
        raise InputError(f"an overlap of {overlap_seconds} s is shorter than one sample")
    return chunk, overlap
