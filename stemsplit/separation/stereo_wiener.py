"""One iteration of expectation maximisation for stereo, in real numbers.

The results equal the results of `stemsplit.separation.wiener.iterate`, which works for any number
of channels. On a CPU, this module is twice as fast. A covariance is Hermitian, so it consists
of only four real numbers, and torch multiplies real numbers several times faster than complex
numbers.
"""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

# The axis `part` has the real and the imaginary part. The frequencies of a frame are next to each
# other in memory, as in torch's spectra.
Planes = Float[Tensor, "stem channel part frame freq"]
MixturePlanes = Float[Tensor, "channel part frame freq"]
Plane = Float[Tensor, "frame freq"]
Value = Float[Tensor, ""]


def planes(
    spectra: Complex[Tensor, "*channels freq frame"],
) -> Float[Tensor, "*channels part frame freq"]:
    """Return the real and imaginary parts of spectra; they share the memory of the spectra."""
    return torch.view_as_real(spectra.resolve_conj()).transpose(-3, -2).movedim(-1, -3)


def iterate(stems: Planes, mixture: MixturePlanes, noise: Value, floor: Value) -> Planes:
    """Filter the mixture, as `stemsplit.separation.wiener.iterate` does.

    `noise` is the power of the white noise, and `floor` is added to the sum of powers. The
    covariance of a stem is [[left, cross], [conj(cross), right]].
    """
    (left_real, left_imag), (right_real, right_imag) = (each.unbind(1) for each in stems.unbind(1))
    left = left_real.square().addcmul_(left_imag, left_imag)
    right = right_real.square().addcmul_(right_imag, right_imag)
    cross_real = (left_real * right_real).addcmul_(left_imag, right_imag)
    cross_imag = (left_imag * right_real).addcmul_(left_real, right_imag, value=-1)
    sums = [each.sum(1, keepdim=True) for each in (left, right, cross_real, cross_imag)]
    power = left.add_(right).div_(2)
    total = power.sum(1, keepdim=True) + floor
    left, right, cross_real, cross_imag = covariance = [each / total for each in sums]

    left_sum, right_sum, real_sum, imag_sum = ((power * each).sum(0) for each in covariance)
    whitened = solved(left_sum, right_sum, real_sum, imag_sum, mixture, noise)
    (first_real, first_imag), (second_real, second_imag) = (each.unbind(0) for each in whitened)
    result = torch.empty_like(stems)
    for channel, part, factors in (
        (0, 0, ((left, first_real), (cross_real, second_real), (-cross_imag, second_imag))),
        (0, 1, ((left, first_imag), (cross_real, second_imag), (cross_imag, second_real))),
        (1, 0, ((right, second_real), (cross_real, first_real), (cross_imag, first_imag))),
        (1, 1, ((right, second_imag), (cross_real, first_imag), (-cross_imag, first_real))),
    ):
        output = result[:, channel, part]
        torch.mul(*factors[0], out=output)
        output.addcmul_(*factors[1]).addcmul_(*factors[2])
    return result.mul_(power[:, None, None])


def solved(
    left: Plane,
    right: Plane,
    cross_real: Plane,
    cross_imag: Plane,
    mixture: MixturePlanes,
    noise: Value,
) -> MixturePlanes:
    """Apply the inverse of a covariance to the mixture; see `stemsplit.separation.wiener.solve`.

    `left`, `right`, `cross_real` and `cross_imag` are the covariance without the noise. `left` and
    `right` are overwritten.
    """
    inverse = left.add_(noise).clamp_(min=noise).reciprocal_()
    ratio_real, ratio_imag = cross_real * inverse, cross_imag * inverse
    pivot = right.add_(noise).addcmul_(ratio_real, cross_real, value=-1)
    pivot.addcmul_(ratio_imag, cross_imag, value=-1).clamp_(min=noise)
    (first_real, first_imag), (second_real, second_imag) = mixture
    result = torch.empty_like(mixture)
    real, imag = result[1]
    torch.addcmul(second_real, ratio_real, first_real, value=-1, out=real)
    real.addcmul_(ratio_imag, first_imag, value=-1).div_(pivot)
    torch.addcmul(second_imag, ratio_real, first_imag, value=-1, out=imag)
    imag.addcmul_(ratio_imag, first_real).div_(pivot)
    torch.mul(first_real, inverse, out=result[0, 0])
    result[0, 0].addcmul_(ratio_real, real, value=-1).addcmul_(ratio_imag, imag)
    torch.mul(first_imag, inverse, out=result[0, 1])
    result[0, 1].addcmul_(ratio_real, imag, value=-1).addcmul_(ratio_imag, real, value=-1)
    return result
