"""Filters of 512 taps that project estimates onto the references.

The taps solve the normal equations. The matrix of these equations holds the correlations of the
references with each other, each shifted by 0 to 511 samples. The right-hand side holds the
correlations of the references with the estimate.

- E. Vincent, R. Gribonval, C. Févotte, "Performance measurement in blind audio source separation",
  IEEE TASLP 14(4), 2006.

If a lossy codec has limited the bandwidth of the music, the equations have condition numbers of
1e14 to 1e17. Then museval's scores change with the last bit of its input. This package computes the
correlations by Fourier transforms of short blocks, whose rounding errors would change the scores by
decibels. So each signal is scaled and split into integers and a small remainder. The correlations
of the integers are exact: the errors of the transforms are below one half, and rounding removes
them. The errors in the correlations of the remainder are too small to matter.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from math import ceil, floor, log2
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Complex128, Float, Float64
from torch import Tensor

from stemsplit.machine.cores import shared_cores

TAPS = 512
TRANSFORM = 5120  # samples
# The integers are scaled so that their correlations do not exceed this number. For ten minutes at
# 44.1 kHz with every sample at full scale, the errors of the transforms are then below 0.1.
LARGEST_INTEGER = 2.0**48
# `refined` accepts a correction only if it is smaller than a quarter of the one before; the first
# one must be smaller than a quarter of LARGEST_CORRECTION. `refined` stops after a correction of
# SMALLEST_CORRECTION or less, because the next one would be lost in rounding. Both sizes are
# relative to the solution.
LARGEST_CORRECTION, SMALLEST_CORRECTION = 1e-2, 1e-8

Item = TypeVar("Item")
References = Float[Tensor, "stem time channel"]
AllEstimates = Float[Tensor, "estimate time channel"]  # all of one system, then all of the next
Stretches = Float64[Tensor, "stretch signal length"]
Correlations = Float64[Tensor, "reference signal lag"]
Filters = Float64[Tensor, "reference estimate tap"]


def stretches(stems: AllEstimates, spans: list[slice], length: int) -> Stretches:
    """Copy the segments at `spans` of every channel of every stem.

    Each stretch is padded with zeros to `length` samples.
    """
    shape = (len(spans), stems.shape[0], stems.shape[2], length)
    padded = stems.new_zeros(shape, dtype=torch.float64)
    for number, span in enumerate(spans):
        samples = stems[:, span].movedim(-1, 1)
        padded[number, ..., : samples.shape[-1]] = samples
    return padded.flatten(1, 2)


def correlations(references: References, estimates: AllEstimates) -> Correlations:
    """Sums over time of reference(t) × signal(t + lag), for lags from 0 to 511.

    The signals are the channels of all references, then those of all estimates, stem by stem: all
    channels of the first stem, then all channels of the second, and so on.
    """
    time = references.shape[1]
    count = references.shape[0] * references.shape[2]
    fresh = TRANSFORM - TAPS + 1  # new samples of each transform
    on_cpu = references.device.type == "cpu"
    peak = 2.0 ** floor(log2(LARGEST_INTEGER / time) / 2)
    scales = torch.cat([scales_to(peak, stems) for stems in (references, estimates)])
    blocks = max(1, (2**7 if on_cpu else 2**12) // len(scales))  # transformed at a time

    def part(starts: range) -> Complex128[Tensor, "accuracy freq reference signal"]:
        shape = (2, TRANSFORM // 2 + 1, count, len(scales))
        spectra = references.new_zeros(shape, dtype=torch.complex128)
        exact, inexact = spectra
        for start in starts:
            length = min(blocks, -(-(time - start) // fresh)) * fresh + TAPS - 1
            span = slice(start, start + length)
            remainder = torch.cat(
                [stretches(x, [span], length)[0] for x in (references, estimates)]
            )
            remainder *= scales[:, None]
            integers = remainder.round()
            remainder -= integers
            (reference, signal), (reference_remainder, signal_remainder) = (
                (
                    by_frequency(x[:count].unfold(1, TRANSFORM, fresh)[..., :fresh]).mT.conj(),
                    by_frequency(x.unfold(1, TRANSFORM, fresh)),
                )
                for x in (integers, remainder)
            )
            exact.baddbmm_(reference, signal)
            inexact.baddbmm_(reference, signal_remainder)
            inexact.baddbmm_(reference_remainder, signal_remainder.add_(signal))
        return spectra

    threads = torch.get_num_threads() if on_cpu else 1
    starts = range(0, time, blocks * fresh)
    shares = [starts[thread::threads] for thread in range(threads)]
    sums = reduce(torch.Tensor.add_, on_threads(part, shares, references.device))
    exact, inexact = torch.fft.irfft(sums.permute(0, 2, 3, 1), TRANSFORM)[..., :TAPS]
    return (exact.round() + inexact) / scales[:count, None, None] / scales[:, None]


def scales_to(peak: float, stems: AllEstimates) -> Float64[Tensor, " signal"]:
    """Powers of two that scale each channel to an absolute maximum of at most `peak`.

    Multiplying by a power of two does not round.
    """
    # One call of `aminmax` along an axis is several times slower than one call per channel.
    bounds = [torch.stack(channel.aminmax()) for stem in stems for channel in stem.T]
    exponents = torch.frexp(torch.stack(bounds).double().abs().amax(dim=1)).exponent
    return peak * torch.exp2(-exponents.clamp(min=-900).double())


def by_frequency(
    signals: Float64[Tensor, "signal block time"],
) -> Complex128[Tensor, "freq block signal"]:
    """Spectra with the frequency first, for one small matrix product per frequency."""
    # `contiguous` is faster than the copy that torch's matrix product makes.
    return torch.fft.rfft(signals, TRANSFORM).permute(2, 1, 0).contiguous()


def on_threads(
    function: Callable[[Item], Tensor], items: Iterable[Item], device: torch.device
) -> Iterator[Tensor]:
    """Yield the function's result for each item in order; on a CPU, in parallel threads.

    Each item is computed on one thread. Otherwise, torch would divide each of thousands of small
    operations among its own threads. Every operation would then wait for the slowest thread, which
    takes long if another program uses a core.
    """
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    if threads == 1:
        yield from map(function, items)
        return
    with shared_cores(threads), ThreadPoolExecutor(threads) as pool:
        yield from pool.map(function, items)


def projection_filters(
    references: References, lags: Correlations, ridge: float, refine: bool = False
) -> Filters:
    """Filters that together project each estimate onto all references.

    `lags` are the `correlations` of references and estimates. `ridge` is added to the energies of
    the references; for `refine` see `solve`.
    """
    kept = distinct(references, lags)
    matrix = block_toeplitz(lags[kept][:, kept])
    matrix.diagonal().add_(ridge)
    products = lags[kept, len(lags) :].transpose(1, 2).flatten(0, 1)
    filters = lags.new_zeros((len(lags), products.shape[1], TAPS))
    filters[kept] = solve(matrix, products, refine).unflatten(0, (len(kept), TAPS)).transpose(1, 2)
    return filters


def distinct(references: References, lags: Correlations) -> list[int]:
    """Indices of the channels that are not copies of an earlier channel.

    A stereo file of a mono song contains such a copy. The copy does not change the projection, but
    makes the equations singular. museval does not remove copies. Rounding errors keep museval's
    equations solvable, and its scores are the same.
    """
    energies = lags[..., 0].diagonal()
    channels = [stem[:, channel] for stem in references for channel in range(stem.shape[1])]
    kept: list[int] = []
    for index, channel in enumerate(channels):
        similar = [k for k in kept if torch.isclose(energies[k], energies[index], rtol=1e-9)]
        if not any(torch.equal(channels[k], channel) for k in similar):
            kept.append(index)
    return kept


def block_toeplitz(
    lags: Float64[Tensor, "reference reference lag"],
) -> Float64[Tensor, "row row"]:
    """Sums over time of reference(t - row) × reference(t - column).

    The matrix has one block of 512 × 512 numbers for each pair of reference channels.
    """
    count = len(lags)
    # The last axis has the shifts from 511 down to -511. Every row of a block is a slice of it.
    all_lags = torch.cat((lags.flip(-1), lags.transpose(0, 1)[..., 1:]), dim=-1)
    matrix = lags.new_empty((count, TAPS, count, TAPS))
    for row in range(TAPS):
        matrix[:, row] = all_lags[..., TAPS - 1 - row : 2 * TAPS - 1 - row]
    return matrix.flatten(2).flatten(0, 1)


def solve(
    matrix: Float64[Tensor, "row row"], products: Float64[Tensor, "row estimate"], refine: bool
) -> Float64[Tensor, "row estimate"]:
    """Solve matrix × solution = products by a Cholesky factorisation.

    If rounding errors make the matrix indefinite, solve as museval does: by LU, and by least
    squares for a singular matrix. If `refine`, the solution by Cholesky factorisation is corrected
    to full double precision by iterative refinement: J. H. Wilkinson, "Rounding Errors in
    Algebraic Processes", 1963.
    """
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if not failed:
        solution = by_factor(factor, products)
        if refine:
            solution = refined(solution, factor, matrix, products)
        return solution
    solution, singular = torch.linalg.solve_ex(matrix, products)
    if not singular:
        return solution
    fitted = np.linalg.lstsq(matrix.cpu().numpy(), products.cpu().numpy())[0]
    return torch.from_numpy(fitted).to(matrix.device)


def by_factor(
    factor: Float64[Tensor, "row row"], products: Float64[Tensor, "row estimate"]
) -> Float64[Tensor, "row estimate"]:
    half = torch.linalg.solve_triangular(factor, products, upper=False)
    return torch.linalg.solve_triangular(factor.mT, half, upper=True)


def refined(
    solution: Float64[Tensor, "row estimate"],
    factor: Float64[Tensor, "row row"],
    matrix: Float64[Tensor, "row row"],
    products: Float64[Tensor, "row estimate"],
) -> Float64[Tensor, "row estimate"]:
    """Add corrections that are computed from the residual.

    Stop before the first correction that is not smaller than a quarter of the previous one.
    """
    size = float(solution.norm())
    previous = LARGEST_CORRECTION * size
    while previous > SMALLEST_CORRECTION * size:
        correction = by_factor(factor, residual(matrix, products, solution))
        current = float(correction.norm())
        if not current < previous / 4:  # the Cholesky factor is too inaccurate
            break
        solution, previous = solution + correction, current
    return solution


def residual(
    matrix: Float64[Tensor, "row row"],
    products: Float64[Tensor, "row estimate"],
    solution: Float64[Tensor, "row estimate"],
) -> Float64[Tensor, "row estimate"]:
    """Compute products - matrix × solution accurately, even if the two terms almost cancel.

    The matrix is split into leading digits and a remainder. The solution is split into two groups
    of leading digits and a remainder. The products of leading digits have so few digits that double
    precision can sum them without rounding: K. Ozaki et al., "Error-free transformations of matrix
    multiplication by using fast routines of matrix multiplication", Numerical Algorithms 59, 2012.
    """
    digits = 53 - ceil(log2(len(matrix)))
    leading = shortened(matrix, digits - digits // 2)
    first = shortened(solution, digits // 2)
    second = shortened(solution - first, digits // 2)
    remainder = leading @ (solution - first - second) + (matrix - leading) @ solution
    return products - leading @ first - leading @ second - remainder


def shortened(numbers: Float64[Tensor, "_ _"], digits: int) -> Float64[Tensor, "_ _"]:
    """Round the numbers of each column to multiples of a step.

    The step is the power of two that leaves `digits` binary digits of the column's largest number.
    """
    exponents = torch.frexp(numbers.abs().amax(dim=0)).exponent.double()
    unit = torch.exp2(exponents - digits)
    return torch.where(unit > 0, (numbers / unit).round() * unit, 0)
