"""Settings of a separation that do not belong to the network."""

from typing import NamedTuple

from stemsplit.errors import InputError


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
        """Raise `InputError` if a number is too small."""
        if self.wiener_iterations is not None and self.wiener_iterations < 0:
            raise InputError(
                f"{self.wiener_iterations} iterations of the Wiener filter: use 0 or more"
            )
        for name, value in (("shifts", self.shifts), ("batch", self.batch)):
            if value is not None and value < 1:
                raise InputError(f"{name} {value} must be 1 or more")


def chunk_and_overlap(
    chunk_seconds: float, overlap_seconds: float, sample_rate: int
) -> tuple[int, int]:
    """Return chunk and overlap in samples; raise `InputError` if they do not fit together."""
    if not 0 < 2 * overlap_seconds <= chunk_seconds:
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
