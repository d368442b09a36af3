"""Filters of 512 taps that take reference signals as near as can be to estimates.

The taps solve the normal equations: the correlations among the references, each shifted by 0 to 511
samples, times the taps are the correlations of the references with the estimate.

- E. Vincent, R. Gribonval, C. Févotte, "Performance measurement in blind audio source separation",
  IEEE TASLP 14(4), 2006.

Music that a lossy codec has band-limited leaves these equations with condition numbers beyond 1e14,
and then museval's scores change with the last bit of its input. There, ours come as near to
museval's as the correlations are exact: that is why they are summed with such care.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

TAPS = 512
# Not a power of two: for those, MKL's transforms err twice as far, and the same way every time.
TRANSFORM = 10240
CHUNK = 2**21  # samples of all signals that are transformed at a time: what the heap gives back

Item = TypeVar("Item")
Song = Float[Tensor, "stem time channel"]
Estimates = Float[Tensor, "estimate time channel"]  # of one system after the other
Stretches = Float64[Tensor, "stretch signal length"]
Correlations = Float64[Tensor, "reference signal lag"]
Filters = Float64[Tensor, "reference estimate tap"]


def stretches(stems: Estimates, spans: list[slice], length: int) -> Stretches:
    """Stretches of every channel of every stem, each followed by zeros up to `length`."""
    shape = (len(spans), stems.shape[0], stems.shape[2], length)
    found = stems.new_zeros(shape, dtype=torch.float64)
    for number, span in enumerate(spans):
        samples = stems[:, span].movedim(-1, 1)
        found[number, ..., : samples.shape[-1]] = samples
    return found.flatten(1, 2)


def correlations(references: Song, estimates: Estimates) -> Correlations:
    """Sums over time of reference(t) × signal(t + lag), lags from 0 to 511.

    The signals are the references, then the estimates: channel by channel, as `stretches` has them.
    """
    time = references.shape[1]
    count = references.shape[0] * references.shape[2]
    fresh = TRANSFORM - TAPS + 1  # samples of a transform that do not overlap with the next
    signals = count + estimates.shape[0] * estimates.shape[2]
    blocks = max(1, CHUNK // (signals * TRANSFORM))

    def part(start: int) -> Correlations:
        length = min(blocks, -(-(time - start) // fresh)) * fresh + TAPS - 1
        span = slice(start, start + length)
        both = torch.cat([stretches(x, [span], length)[0] for x in (references, estimates)])
        overlapping = both.unfold(1, TRANSFORM, fresh)
        reference = torch.fft.rfft(overlapping[:count, :, :fresh], TRANSFORM).conj()
        signal = torch.fft.rfft(overlapping)
        # One product of small matrices a frequency. torch is slow at copying them by itself.
        product = torch.bmm(
            reference.permute(2, 0, 1).contiguous(), signal.permute(2, 1, 0).contiguous()
        )
        return torch.fft.irfft(product.permute(1, 2, 0).contiguous(), TRANSFORM)[..., :TAPS]

    found = references.new_zeros((count, signals, TAPS), dtype=torch.float64)
    lost = torch.zeros_like(found)
    for piece in on_threads(part, range(0, time, blocks * fresh), references.device):
        # W. Kahan's sum: a plain one would err more than all the transforms.
        piece = piece - lost
        total = found + piece
        lost = (total - found) - piece
        found = total
    return found


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


def projection_filters(references: Song, found: Correlations, ridge: float) -> Filters:
    """The filters of all references together, for each estimate in the correlations `found`.

    `ridge` is added to the energies of the references.
    """
    kept = distinct(references, found)
    matrix = block_toeplitz(found[kept][:, kept])
    matrix.diagonal().add_(ridge)
    products = found[kept, len(found) :].transpose(1, 2).flatten(0, 1)
    filters = found.new_zeros((len(found), products.shape[1], TAPS))
    filters[kept] = solve(matrix, products).unflatten(0, (len(kept), TAPS)).transpose(1, 2)
    return filters


def distinct(references: Song, found: Correlations) -> list[int]:
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
    matrix: Float64[Tensor, "row row"], products: Float64[Tensor, "row estimate"]
) -> Float64[Tensor, "row estimate"]:
    """By Cholesky's factors; where rounding has left none, museval's way: LU, or least squares."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    if not failed:
        half = torch.linalg.solve_triangular(factor, products, upper=False)
        return torch.linalg.solve_triangular(factor.mT, half, upper=True)
    solution, singular = torch.linalg.solve_ex(matrix, products)
    if not singular:
        return solution
    fitted = np.linalg.lstsq(matrix.cpu().numpy(), products.cpu().numpy())[0]
    return torch.from_numpy(fitted).to(matrix.device)
