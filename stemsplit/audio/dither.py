"""Round stems to 16 or 24 bits without distortion, so that they still sum to the song."""

import numpy as np
from jaxtyping import Bool, Float32, Float64

from stemsplit.errors import InputError

Stems = Float32[np.ndarray, "stem channel time"]
BIT_DEPTHS = (16, 24)
SEED = 0


class Quantiser:
    """Round all stems of a song to steps of an integer format, with dither.

    The dither of stem i is u[i] - u[i - 1], where each u is uniform in ±half a step. For the first
    stem, u[i - 1] is the u of the last stem, so the dither of all stems sums to zero. Each
    difference has a triangular density, which makes mean and variance of the rounding error
    independent of the signal. The rounding error of each stem is added to the next stem. Without
    further dither, the stems would sum to the song rounded without dither, and the last stem would
    have the distortion of that rounding. So the last stem gets another dither, uniform in ±half a
    step.

    As a result, the sum of the rounded stems differs from the sum of the stems by at most one step.
    If the sum of the stems is a multiple of the step (a 16-bit song in 16 bits), both sums are
    equal. Clipped samples are the exception. If there is only one stem, its dither has a triangular
    density, too, and its rounded samples are wrong by at most 1.5 steps.

    Where all stems are zero, the samples stay zero, so that digital silence of the song stays
    silent.

    `clipped` counts the samples that were beyond full scale and are limited to it. The dither is
    the same in each run, and does not depend on how the song is divided into blocks.
    """

    def __init__(self, bits: int, stems: int) -> None:
        if bits not in BIT_DEPTHS:
            raise InputError(f"cannot dither to a bit depth of {bits}; choose 16 or 24")
        self.clipped = 0
        self._full_scale = 2 ** (bits - 1)
        self._stems = stems
        self._random = np.random.default_rng(SEED)

    def quantise(self, stems: Stems) -> Stems:
        """Return the next samples of all stems, in ±1 and on the steps of the format."""
        silent = np.logical_not(stems.any(axis=0))
        dither = self._dither(stems.shape[1], stems.shape[2])
        rounded = np.empty_like(stems)
        error = np.zeros(stems.shape[1:])
        for stem, samples in enumerate(stems):
            error += samples * float(self._full_scale) + dither[stem]
            steps = np.rint(error)
            error -= steps
            self._limit(steps, silent)
            np.multiply(steps, 1 / self._full_scale, out=rounded[stem], casting="same_kind")
        return rounded

    def _dither(self, channels: int, time: int) -> Float64[np.ndarray, "stem channel time"]:
        """Draw dither in units of a step.

        The random numbers are drawn in the order of time, so the dither does not depend on how the
        song is divided into blocks.
        """
        uniform = self._random.random((time, channels, self._stems + 1)).T - 0.5
        chain, last = np.ascontiguousarray(uniform[:-1]), uniform[-1]
        dither = chain - np.roll(chain, 1, axis=0) if self._stems > 1 else chain
        dither[-1] += last
        return dither

    def _limit(
        self, steps: Float64[np.ndarray, "channel time"], silent: Bool[np.ndarray, "channel time"]
    ) -> None:
        """Limit samples to full scale, and keep silence, in place."""
        lowest, highest = -self._full_scale, self._full_scale - 1
        if steps.size and (steps.min() < lowest or steps.max() > highest):
            self.clipped += int(np.count_nonzero((steps < lowest) | (steps > highest)))
            np.clip(steps, lowest, highest, out=steps)
        if silent.any():
            steps[silent] = 0
