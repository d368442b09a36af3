"""Filters of 512 taps that project estimates onto the references.

The taps solve the normal equations: the correlations among the references, each shifted by 0 to 511
samples, times the taps are the correlations of the references with the estimate.

- E. Vincent, R. Gribonval, C. Févotte, "Performance measurement in blind audio source separation",
  IEEE TASLP 14(4), 2006.

Music that a lossy codec has band-limited leaves these equations with condition numbers of 1e14 to
1e17, and then museval's scores change with the last bit of its input, and the errors of transforms
of blocks would move ours by decibels. So the correlations are exact: each signal is rounded to
whole numbers so small that the correlations of these come out of the transforms as whole numbers,
but for errors that round away. What was rounded off is so soft that its correlations may err.
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

TAPS = 512
TRANSFORM = 5120
# The most that a correlation of whole numbers may come to: the transforms of 44.1 kHz for ten
# minutes, with every sample at full scale, then err by less than 0.1 of a whole number.
WHOLE = 2.0**48
# Of a solution, the share that may be wrong so that refining it finds the rest; and the share of a
# correction after which the next would be lost in rounding.
KNOWN, NEGLIGIBLE = 1e-2, 1e-8

Item = TypeVar("Item")
References = Float[Tensor, "stem time channel"]
AllEstimates = Float[Tensor, "estimate time channel"]  # of one system after the other
Stretches = Float64[Tensor, "stretch signal length"]
Correlations = Float64[Tensor, "reference signal lag"]
Filters = Float64[Tensor, "reference estimate tap"]


def stretches(stems: AllEstimates, spans: list[slice], length: int) -> Stretches:
    """Stretches of every channel of every stem, each followed by zeros up to `length`."""
    shape = (len(spans), stems.shape[0], stems.shape[2], length)
    found = stems.new_zeros(shape, dtype=torch.float64)
    for number, span in enumerate(spans):
        samples = stems[:, span].movedim(-1, 1)
        found[number, ..., : samples.shape[-1]] = samples
    return found.flatten(1, 2)


def correlations(references: References, estimates: AllEstimates) -> Correlations:
    """Sums over time of reference(t) × signal(t + lag), lags from 0 to 511.

    The signals are the references, then the estimates: channel by channel, as `stretches` has them.
    """
    time = references.shape[1]
    count = references.shape[0] * references.shape[2]
    fresh = TRANSFORM - TAPS + 1  # samples of a transform that do not overlap with the next
    on_cpu = references.device.type == "cpu"
    peak = 2.0 ** floor(log2(WHOLE / time) / 2)
    scales = torch.cat([scales_to(peak, stems) for stems in (references, estimates)])
    blocks = max(1, (2**7 if on_cpu else 2**12) // len(scales))  # that are transformed at a time

    def part(starts: range) -> Complex128[Tensor, "both freq reference signal"]:
        shape = (2, TRANSFORM // 2 + 1, count, len(scales))
        both = references.new_zeros(shape, dtype=torch.complex128)
        exact, rest = both
        for start in starts:
            length = min(blocks, -(-(time - start) // fresh)) * fresh + TAPS - 1
            span = slice(start, start + length)
            soft = torch.cat([stretches(x, [span], length)[0] for x in (references, estimates)])
            soft *= scales[:, None]
            whole = soft.round()
            soft -= whole
            (reference, signal), (soft_reference, soft_signal) = (
                (
                    by_frequency(x[:count].unfold(1, TRANSFORM, fresh)[..., :fresh]).mT.conj(),
                    by_frequency(x.unfold(1, TRANSFORM, fresh)),
                )
                for x in (whole, soft)
            )
            exact.baddbmm_(reference, signal)
            rest.baddbmm_(reference, soft_signal)
            rest.baddbmm_(soft_reference, soft_signal.add_(signal))
        return both

    threads = torch.get_num_threads() if on_cpu else 1
    starts = range(0, time, blocks * fresh)
    shares = [starts[thread::threads] for thread in range(threads)]
    sums = reduce(torch.Tensor.add_, on_threads(part, shares, references.device))
    exact, rest = torch.fft.irfft(sums.permute(0, 2, 3, 1), TRANSFORM)[..., :TAPS]
    return (exact.round() + rest) / scales[:count, None, None] / scales[:, None]


def scales_to(peak: float, stems: AllEstimates) -> Float64[Tensor, " signal"]:
    """The powers of two that take each channel of stems to at most the peak, without rounding."""
    lowest, highest = (bound.double().flatten() for bound in stems.aminmax(dim=1))
    exponents = torch.frexp(torch.maximum(-lowest, highest)).exponent
    return peak * torch.exp2(-exponents.clamp(min=-900).double())


def by_frequency(
    signals: Float64[Tensor, "signal block time"],
) -> Complex128[Tensor, "freq block signal"]:
    """Spectra, for products of small matrices a frequency."""
    # torch is slow at copying them by itself.
    return torch.fft.rfft(signals, TRANSFORM).permute(2, 1, 0).contiguous()


def on_threads(
    function: Callable[[Item], Tensor], items: Iterable[Item], device: torch.device
) -> Iterator[Tensor]:
    """What the function makes of each item, in their order; on a CPU each on a thread of its own.

    torch's own threads would have to wait for each other within every operation, of which there are
    thousands, and where another program takes a core from them they wait for long.
    """
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    if threads == 1:
        yield from map(function, items)
        return
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            yield from pool.map(function, items)
    finally:
        torch.set_num_threads(threads)


def projection_filters(
    references: References, found: Correlations, ridge: float, refine: bool = False
) -> Filters:
    """The filters of all references together, for each estimate in the correlations `found`.

    `ridge` is added to the energies of the references; for `refine` see `solve`.
    """
    kept = distinct(references, found)
    matrix = block_toeplitz(found[kept][:, kept])
    matrix.diagonal().add_(ridge)
    products = found[kept, len(found) :].transpose(1, 2).flatten(0, 1)
    filters = found.new_zeros((len(found), products.shape[1], TAPS))
    filters[kept] = solve(matrix, products, refine).unflatten(0, (len(kept), TAPS)).transpose(1, 2)
    return filters


def distinct(references: References, found: Correlations) -> list[int]:
    """The numbers of the signals that do not repeat one before them, as mono in stereo does.

    A repetition adds nothing that could be filtered, and makes the equations singular. (museval
    keeps both: rounding tells them apart in its equations, and its scores are the same.)
    """
    energies = found[..., 0].diagonal()
    columns = [stem[:, channel] for stem in references for channel in range(stem.shape[1])]
    kept: list[int] = []
    for number, column in enumerate(columns):
        alike = [k for k in kept if torch.isclose(energies[k], energies[number], rtol=1e-9)]
        if not any(torch.equal(columns[k], column) for k in alike):
            kept.append(number)
    return kept


def block_toeplitz(
    found: Float64[Tensor, "reference reference lag"],
) -> Float64[Tensor, "row row"]:
    """The sums over time of reference(t - row) × other(t - column), 512 of each to a block."""
    count = len(found)
    # Lags from 511 down to -511, of which a row is a stretch.
    lags = torch.cat((found.flip(-1), found.transpose(0, 1)[..., 1:]), dim=-1)
    matrix = found.new_empty((count, TAPS, count, TAPS))
    for row in range(TAPS):
        matrix[:, row] = lags[..., TAPS - 1 - row : 2 * TAPS - 1 - row]
    return matrix.flatten(2).flatten(0, 1)


def solve(
    matrix: Float64[Tensor, "row row"], products: Float64[Tensor, "row estimate"], refine: bool
) -> Float64[Tensor, "row estimate"]:
    """By Cholesky's factors; where rounding has left none, museval's way: LU, or least squares.

    With `refine` the solution has the accuracy of its double precision, and not that of the factor:
    J. H. Wilkinson, "Rounding Errors in Algebraic Processes", 1963.
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
    """Corrected by what is left of the products, as long as that shrinks."""
    size = float(solution.norm())
    last = KNOWN * size
    while last > NEGLIGIBLE * size:
        correction = by_factor(factor, residual(matrix, products, solution))
        now = float(correction.norm())
        if not now < last / 4:  # the factor knows too little
            break
        solution, last = solution + correction, now
    return solution


def residual(
    matrix: Float64[Tensor, "row row"],
    products: Float64[Tensor, "row estimate"],
    solution: Float64[Tensor, "row estimate"],
) -> Float64[Tensor, "row estimate"]:
    """products - matrix × solution, where that is far smaller than either.

    The leading digits are of numbers so short that double precision holds their products' sums
    without rounding: K. Ozaki et al., "Error-free transformations of matrix multiplication by using
    fast routines of matrix multiplication", Numerical Algorithms 59, 2012.
    """
    digits = 53 - ceil(log2(len(matrix)))
    leading = shortened(matrix, digits - digits // 2)
    first = shortened(solution, digits // 2)
    second = shortened(solution - first, digits // 2)
    rest = leading @ (solution - first - second) + (matrix - leading) @ solution
    return products - leading @ first - leading @ second - rest


def shortened(numbers: Float64[Tensor, "_ _"], digits: int) -> Float64[Tensor, "_ _"]:
    """Rounded to so many binary digits of the largest in their column."""
    exponents = torch.frexp(numbers.abs().amax(dim=0)).exponent.double()
    unit = torch.exp2(exponents - digits)
    return torch.where(unit > 0, (numbers / unit).round() * unit, 0)
