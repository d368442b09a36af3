"""Multichannel Wiener filtering by expectation maximisation.

At each frequency, the model of a stem has a power that varies over frames, and a covariance between
the channels that is constant over frames. One iteration of expectation maximisation computes the
powers and the covariances from the current estimates, and then filters the mixture with them.

- N. Duong, E. Vincent, R. Gribonval, "Under-determined reverberant audio source separation using
  a full-rank spatial covariance model", IEEE TASLP 18(7), 2010.
- A. Nugraha, A. Liutkus, E. Vincent, "Multichannel audio source separation with deep neural
  networks", IEEE/ACM TASLP 24(9), 2016: the weighted update of the covariance, used here.

In double precision, the results equal the results of `openunmix.filtering.wiener`. In single
precision, that function is inaccurate if the channels are nearly equal, but this module is accurate
(see `solve`).
"""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from stemsplit.models.shapes import Spectrum, StemSpectra
from stemsplit.separation import stereo_wiener

# Power of the white noise in the model, if no magnitude of the mixture's spectrum exceeds 10. For a
# louder mixture, the power of the noise is multiplied by (largest magnitude / 10) ** 2. openunmix
# (with eps = NOISE_POWER ** 2) scales a louder mixture down to the magnitude 10 instead, which has
# the same result.
NOISE_POWER = 1e-5

# Spectra with a higher peak are scaled down below this value, and the results are scaled up again,
# so that squares stay finite.
LARGEST_MAGNITUDE = 2.0**40


def wiener(estimates: StemSpectra, mixture: Spectrum, iterations: int = 1) -> StemSpectra:
    """Refine the estimated stems of a mixture by expectation maximisation.

    The refined stems sum to the mixture, except for the noise in the model. Every source in the
    mixture therefore needs an estimate, for example as a residual. Covariances are averages over
    all frames. With `iterations=0` the estimates are returned unchanged. Raises `ValueError` if
    shapes do not match or `iterations` is negative.
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
    # Frequencies are independent, so they are processed in blocks. On a CPU, blocks are small, so
    # that their arrays fit in the caches. Blocks for `stereo_wiener` are larger, because it is fast
    # only with many frequencies in a block. An accelerator needs large blocks, too.
    cache = 2**25 if channel == 2 else 2**22
    cache = cache * torch.get_num_threads() if estimates.device.type == "cpu" else 2**28
    bins = max(1, cache // (stem * channel**2 * frame * dtype.itemsize))
    for item in range(batch):
        song, sources = mixture[item].to(dtype).resolve_conj(), estimates[item].to(dtype)
        peak = torch.linalg.vector_norm(torch.view_as_real(song), torch.inf)
        scale = scale_below(LARGEST_MAGNITUDE, peak)
        is_scaled = bool(scale < 1)
        if is_scaled:
            song, sources = song * scale, sources * scale
        mixture_blocks = song.split(bins, dim=1)
        # Only a running maximum is kept. One maximum per block would fragment the heap, because
        # these small tensors would lie between large temporary tensors. In a long song, the wasted
        # memory would have about the size of the mixture.
        excess = torch.ones((), dtype=dtype.to_real(), device=mixture.device)
        for block in mixture_blocks:
            power = block.real.square() + block.imag.square()
            excess = torch.maximum(excess, power.amax() / 10**2)
        noise = NOISE_POWER * excess
        for start, block in zip(range(0, freq, bins), mixture_blocks, strict=True):
            place = (slice(None), slice(None), slice(start, start + bins))
            iterate_into(refined[item][place], sources[place], block, noise, iterations)
        if is_scaled:
            refined[item] /= scale
    return refined


def iterate_into(
    refined: Complex[Tensor, "stem channel freq frame"],
    stems: Complex[Tensor, "stem channel freq frame"],
    mixture: Complex[Tensor, "channel freq frame"],
    noise: Float[Tensor, ""],
    iterations: int,
) -> None:
    """Write the stems after all iterations to `refined`; `noise` is the power of white noise."""
    # `stereo_wiener` overwrites arrays, so it has no gradients.
    has_gradient = stems.requires_grad or mixture.requires_grad
    if len(mixture) == 2 and mixture.device.type == "cpu" and not has_gradient:
        planes = stereo_wiener.planes(stems).contiguous()
        mixture_planes = stereo_wiener.planes(mixture).contiguous()
        for _ in range(iterations):
            planes = stereo_wiener.iterate(planes, mixture_planes, noise, noise * NOISE_POWER)
        stereo_wiener.planes(refined).copy_(planes)
        return
    stems, mixture = stems.contiguous(), mixture.contiguous()
    for _ in range(iterations):
        stems = iterate(stems, mixture, noise)
    refined.copy_(stems)


def scale_below(limit: float, peaks: Tensor) -> Tensor:
    """Return powers of two, at most 1, that scale `peaks` below `limit` without rounding."""
    exponent = torch.frexp(peaks / limit).exponent.clamp(min=0)
    return torch.ldexp(torch.ones_like(peaks), -exponent)


def iterate(
    stems: Complex[Tensor, "stem channel freq frame"],
    mixture: Complex[Tensor, "channel freq frame"],
    noise: Float[Tensor, ""],
) -> Complex[Tensor, "stem channel freq frame"]:
    """One iteration of expectation maximisation; `noise` is the power of the white noise."""
    outer = stems[:, :, None] * stems[:, None].conj()
    # `power` is real, but it has a complex type, because torch multiplies tensors of equal types
    # much faster.
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
    """Apply the inverse of the covariance to the mixture, by Gaussian elimination over channels.

    The usual closed form divides by the determinant, which loses its precision if channels are
    nearly equal. For a mono song that is stored as stereo, no digit of the result would be correct
    in single precision. Here, every pivot is at least the power of the noise.
    """
    inverse = covariance[0, 0].real.clamp(min=noise).reciprocal().to(mixture.dtype)
    if len(mixture) == 1:
        return mixture * inverse
    ratio = covariance[1:, 0] * inverse
    covariance_of_rest = covariance[1:, 1:] - ratio[:, None] * covariance[0, 1:]
    rest = solve(covariance_of_rest, mixture[1:] - ratio * mixture[0], noise)
    first = mixture[0] * inverse - (ratio.conj() * rest).sum(0)
    return torch.cat((first[None], rest))
