"""Settings of a separation that do not belong to the network."""

import math
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from stemsplit.errors import InputError
from stemsplit.machine.bfloat16 import cpu_is_fast_in_bfloat16

NUMBER = (int, float, np.integer, np.floating)
# The filter converges within a few iterations, so a larger number would only take time.
MOST_WIENER_ITERATIONS = 100
MOST_SHIFTS = 100  # more would hardly change the average
LONGEST_CHUNK_SECONDS = 3600  # memory grows with the chunk
PRECISIONS = ("auto", "float32", "bfloat16")


class Inference(NamedTuple):
    """How to separate a song. The separator's own values replace None in the first three settings.

    A song is separated in chunks of `chunk_seconds`, which overlap by `overlap_seconds` and are
    cross-faded. The Wiener filter works within a chunk. With 4 `shifts`, the song is separated four
    times, each time with chunks at other positions, and the results are averaged (the "shift trick"
    of Demucs). This takes four times as long. `batch` is the number of chunks that the network
    processes at once; by default it grows up to a limit, or until the memory is full. The network
    runs in the `precision` ``float32``, ``bfloat16`` or ``auto``. With ``auto``, it runs in
    bfloat16 on a CPU that has instructions for bfloat16, and in float32 elsewhere.
    """

    wiener_iterations: int | None = None
    chunk_seconds: float | None = None
    overlap_seconds: float | None = None
    shifts: int = 1
    batch: int | None = None
    precision: str = "float32"

    def check(self) -> None:
        """Raise `InputError` if a setting has a wrong type or is out of its range."""
        for name, value, lowest, highest in (
            ("wiener_iterations", self.wiener_iterations, 0, MOST_WIENER_ITERATIONS),
            ("shifts", self.shifts, 1, MOST_SHIFTS),
            ("batch", self.batch, 1, None),
        ):
            if value is None:
                continue
            # NumPy's integers are allowed. A bool is also Integral, but is refused.
            if not isinstance(value, Integral) or isinstance(value, bool) or value < lowest:
                raise InputError(f"{name} {value} must be a whole number, {lowest} or more")
            if highest is not None and value > highest:
                raise InputError(f"{name} {value} must be {highest} or less")
        if self.chunk_seconds is not None:
            _check_chunk(self.chunk_seconds)
        if self.overlap_seconds is not None:
            _check_overlap(self.overlap_seconds)
        if self.precision not in PRECISIONS:
            raise InputError(
                f"precision {self.precision!r}: unknown; choose one of {', '.join(PRECISIONS)}"
            )

    def in_bfloat16(self, device_type: str) -> bool:
        """Whether the network runs in bfloat16. Raises `InputError` if the device cannot do so."""
        if self.precision == "auto":
            return device_type == "cpu" and cpu_is_fast_in_bfloat16()
        if self.precision == "bfloat16" and device_type == "cpu" and not cpu_is_fast_in_bfloat16():
            raise InputError(
                "precision bfloat16: this CPU has no instructions for it (AVX-512 BF16); choose "
                "float32 or auto"
            )
        return self.precision == "bfloat16"

    def chunk_and_overlap(
        self, chunk: int, overlap: int, window: int, sample_rate: int
    ) -> tuple[int, int]:
        """Return the lengths of chunks and of their overlap, in samples.

        `chunk` and `overlap` are the separator's own values in samples, for settings that are None.
        Raises `InputError` if the two lengths do not fit together, or a chunk is shorter than the
        `window` of the Fourier transform.
        """
        if self.chunk_seconds is None and self.overlap_seconds is None:
            return chunk, overlap
        chunk_seconds = chunk / sample_rate if self.chunk_seconds is None else self.chunk_seconds
        own_overlap = min(overlap / sample_rate, chunk_seconds / 2)
        overlap_seconds = own_overlap if self.overlap_seconds is None else self.overlap_seconds
        return chunk_and_overlap(chunk_seconds, overlap_seconds, window, sample_rate)


def chunk_and_overlap(
    chunk_seconds: float, overlap_seconds: float, window: int, sample_rate: int
) -> tuple[int, int]:
    """Return chunk and overlap in samples.

    Raises `InputError` if they do not fit together, or a chunk is shorter than the `window` of the
    Fourier transform.
    """
    _check_chunk(chunk_seconds)
    _check_overlap(overlap_seconds)
    if chunk_seconds * sample_rate < window:
        raise InputError(
            f"chunks of {chunk_seconds} s are shorter than the window of "
            f"{window / sample_rate:.3f} s of the Fourier transform: choose longer chunks"
        )
    if 2 * overlap_seconds > chunk_seconds:
        raise InputError(
            f"chunks of {chunk_seconds} s cannot overlap by {overlap_seconds} s: choose an "
            f"overlap above 0 s, up to {chunk_seconds / 2} s"
        )
    chunk = round(chunk_seconds * sample_rate)
    # Rounding could make the overlap longer than half a chunk; then the weights of the cross-fades
    # would not sum to one.
    overlap = min(round(overlap_seconds * sample_rate), chunk // 2)
    if not overlap:
        raise InputError(
            f"an overlap of {overlap_seconds} s is shorter than one sample: choose a longer one"
        )
    return chunk, overlap


def _check_chunk(seconds: Any) -> None:
    if not isinstance(seconds, NUMBER) or not 0 < seconds <= LONGEST_CHUNK_SECONDS:
        raise InputError(
            f"chunks of {seconds} s: choose a length above 0 s, up to {LONGEST_CHUNK_SECONDS} s"
        )


def _check_overlap(seconds: Any) -> None:
    if not isinstance(seconds, NUMBER) or not 0 < seconds < math.inf:
        raise InputError(f"an overlap of {seconds} s: choose a length above 0 s")
