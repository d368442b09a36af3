"""Multichannel Wiener filtering: refine stem spectra until they explain the mixture in space too.

Every stem is modelled, in each frequency by itself, as a power that changes from frame to frame
times a spatial covariance between the channels that does not. One iteration of expectation
maximisation reads both off the present estimates, then filters the mixture with them.

- N. Duong, E. Vincent, R. Gribonval, "Under-determined reverberant audio source separation using
  a full-rank spatial covariance model", IEEE TASLP 18(7), 2010.
- A. Nugraha, A. Liutkus, E. Vincent, "Multichannel audio source separation with deep neural
  networks", IEEE/ACM TASLP 24(9), 2016: the update by the estimates' own covariance, used here.

The numbers are those of `norbert.wiener` and `openunmix.filtering.wiener`.
"""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from stemsplit.shapes import Spectrum, StemSpectra

# The model takes this much white noise to be in a mixture that never exceeds 10; in a louder one,
# as much in proportion. (The peers scale such a mixture down to 10 instead, to the same effect.)
NOISE_POWER = 1e-5


def wiener(estimates: StemSpectra, mixture: Spectrum, iterations: int = 1) -> StemSpectra:
    """Refine the estimated stems of a mixture by expectation maximisation.

    The spatial covariances are averages over all the frames given. What the stems leave of the
    mixture is nobody's: to keep it, give a residual as one more stem. Raises `ValueError` where
    the shapes do not match or `iterations` is negative.
    """
    batch, stem, channel, freq, frame = estimates.shape
    if mixture.shape != (batch, channel, freq, frame):
        raise ValueError(
            f"mixture {tuple(mixture.shape)} does not match estimates {tuple(estimates.shape)}: "
            f"expected {(batch, channel, freq, frame)}"
        )
    if iterations < 0:
        raise ValueError(f"iterations must be 0 or more, not {iterations}")
    if iterations == 0:
        return estimates

    dtype = torch.promote_types(estimates.dtype, mixture.dtype)
    refined = torch.empty_like(estimates, dtype=dtype)
    # Frequencies are independent, so they go through in blocks whose largest array stays in the
    # cores' second-level caches; an accelerator wants large kernels instead.
    cache = 2**28 if estimates.is_cuda else 2**21 * torch.get_num_threads()
    bins = max(1, cache // (stem * channel**2 * frame * dtype.itemsize))
    for item in range(batch):
        mixtures = mixture[item].to(dtype).split(bins, dim=1)
        peak_power = torch.stack([(x * x.conj()).real.amax() for x in mixtures]).amax()
        noise = NOISE_POWER * (peak_power / 10**2).clamp(min=1)
        for start, x in zip(range(0, freq, bins), mixtures, strict=True):
            block = (item, slice(None), slice(None), slice(start, start + bins))
            stems = estimates[block].to(dtype).contiguous()
            for _ in range(iterations):
                stems = maximise_expectation(stems, x, noise)
            refined[block] = stems
    return refined


def maximise_expectation(
    stems: Complex[Tensor, "stem channel freq frame"],
    mixture: Complex[Tensor, "channel freq frame"],
    noise: Float[Tensor, ""],
) -> Complex[Tensor, "stem channel freq frame"]:
    """The stems after one more iteration, in a model with white noise of power `noise`."""
    outer = stems[:, :, None] * stems[:, None].conj()
    # Real, but kept complex: torch multiplies tensors of one kind several times as fast as mixed.
    power = outer.diagonal(dim1=1, dim2=2).sum(-1) / stems.shape[1]
    weight = power.sum(-1) + noise * NOISE_POWER
    covariance = (outer.sum(-1) / weight[:, None, None])[..., None]
    expected = (power[:, None, None] * covariance).sum(0)
    expected.diagonal(dim1=0, dim2=1).add_(noise)
    return (covariance * solve(expected, mixture)).sum(2) * power[:, None]


def solve(
    covariance: Complex[Tensor, "channel channel freq frame"],
    mixture: Complex[Tensor, "channel freq frame"],
) -> Complex[Tensor, "channel freq frame"]:
    """The inverse of every covariance times the mixture."""
    if len(mixture) == 1:
        return mixture / covariance[0]
    if len(mixture) == 2:
        (left, cross), (cross_conj, right) = covariance
        determinant = (left * right - cross * cross_conj).real
        x, y = mixture
        adjugate = torch.stack((right * x - cross * y, left * y - cross_conj * x))
        return adjugate * determinant.reciprocal()
    # `solve_ex` does not wait for an accelerator to look for singular matrices: noise excludes them.
    solution, _ = torch.linalg.solve_ex(covariance.permute(2, 3, 0, 1), mixture.permute(1, 2, 0))
    return solution.permute(2, 0, 1)
