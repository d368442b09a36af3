"""Multichannel Wiener filtering by expectation maximisation.

In each frequency, a stem is modelled as a power that varies over frames, times a constant
covariance between the channels. One iteration of expectation maximisation computes both from the
present estimates, and then filters the mixture with them.

- N. Duong, E. Vincent, R. Gribonval, "Under-determined reverberant audio source separation using
  a full-rank spatial covariance model", IEEE TASLP 18(7), 2010.
- A. Nugraha, A. Liutkus, E. Vincent, "Multichannel audio source separation with deep neural
  networks", IEEE/ACM TASLP 24(9), 2016: the weighted update of the covariance, used here.

The results are those of `openunmix.filtering.wiener` in double precision; its own in single
precision are far from them where channels are alike, these are not: see `solve`.
"""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from stemsplit.models.shapes import Spectrum, StemSpectra

# The model hears this much white noise in a mixture that never exceeds 10, and in proportion more
# in a louder one: openunmix, with its eps = NOISE_POWER ** 2, scales that one down to 10 instead.
NOISE_POWER = 1e-5

# Louder mixtures are scaled down to this and the results up again: their squares must stay finite.
LOUDEST = 2.0**40


def wiener(estimates: StemSpectra, mixture: Spectrum, iterations: int = 1) -> StemSpectra:
    """Refine the estimated stems of a mixture by expectation maximisation.

    The refined stems share the whole mixture among them, but for the model's noise; so a stem that
    is to stay out of the others needs an estimate too (a residual, say). Covariances are averages
    over all the frames given. Raises `ValueError` where shapes do not match or `iterations` is
    negative; none leaves the estimates as they are.
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
    # second-level caches of the cores; an accelerator wants large kernels instead.
    cache = 2**21 * torch.get_num_threads() if estimates.device.type == "cpu" else 2**28
    bins = max(1, cache // (stem * channel**2 * frame * dtype.itemsize))
    for item in range(batch):
        values = torch.view_as_real(mixture[item].to(dtype).resolve_conj())
        scale = scale_below(LOUDEST, torch.linalg.vector_norm(values, torch.inf))
        mixture_blocks = mixture[item].to(dtype).split(bins, dim=1)
        # One running maximum, not one a block: small tensors kept between large ones that come and
        # go would leave holes in the heap, over a long song as many as the mixture is large.
        excess = torch.ones((), dtype=dtype.to_real(), device=mixture.device)
        for block_of_mixture in mixture_blocks:
            x = block_of_mixture * scale
            excess = torch.maximum(excess, (x * x.conj()).real.amax() / 10**2)
        noise = NOISE_POWER * excess
        for start, mixture_block in zip(range(0, freq, bins), mixture_blocks, strict=True):
            block = (item, slice(None), slice(None), slice(start, start + bins))
            stems = (estimates[block].to(dtype) * scale).contiguous()
            scaled_block = mixture_block * scale
            for _ in range(iterations):
                stems = iterate(stems, scaled_block, noise)
            refined[block] = stems / scale
    return refined


def scale_below(limit: float, peaks: Tensor) -> Tensor:
    """The powers of two, at most one, that bring peaks below `limit`. They scale exactly."""
    exponent = torch.frexp(peaks / limit).exponent.clamp(min=0)
    return torch.ldexp(torch.ones_like(peaks), -exponent)


def iterate(
    stems: Complex[Tensor, "stem channel freq frame"],
    mixture: Complex[Tensor, "channel freq frame"],
    noise: Float[Tensor, ""],
) -> Complex[Tensor, "stem channel freq frame"]:
    """One iteration, in a model with white noise of power `noise`."""
    outer = stems[:, :, None] * stems[:, None].conj()
    # Real, but kept complex: torch multiplies tensors of one type much faster than of two.
    power = outer.diagonal(dim1=1, dim2=2).sum(-1) / stems.shape[1]
    total_power = power.sum(-1) + noise * NOISE_POWER
    covariance = (outer.sum(-1) / total_power[:, None, None])[..., None]
    mixture_covariance = (power[:, None, None] * covariance).sum(0)
    mixture_covariance.diagonal(dim1=0, dim2=1).add_(noise)
    whitened = solve(mixture_covariance, mixture, noise)
    return (covariance * whitened).sum(2) * power[:, None]


def solve(
    covariance: Complex[Tensor, "channel channel freq frame"],
    mixture: Complex[Tensor, "channel freq frame"],
    noise: Float[Tensor, ""],
) -> Complex[Tensor, "channel freq frame"]:
    """The inverse of the covariance, applied to the mixture, by eliminating channel by channel.

    The usual closed form divides by a determinant that cancels where channels are nearly equal: on
    a mono song in stereo, single precision leaves it no correct digit. A pivot here is at least
    the noise's power, whatever the rounding before it.
    """
    inverse = covariance[0, 0].real.clamp(min=noise).reciprocal().to(mixture.dtype)
    if len(mixture) == 1:
        return mixture * inverse
    ratio = covariance[1:, 0] * inverse
    covariance_of_rest = covariance[1:, 1:] - ratio[:, None] * covariance[0, 1:]
    rest = solve(covariance_of_rest, mixture[1:] - ratio * mixture[0], noise)
    first = mixture[0] * inverse - (ratio.conj() * rest).sum(0)
    return torch.cat((first[None], rest))
