"""The interface that networks with a complex mask share: scaled spectrum → mask in two parts."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stemsplit.models.shapes import Mask, Views

MaskParts = Float[Tensor, "batch stem channel freq frame 2"]


class ComplexMask(nn.Module):
    """A network that reads the complex spectrum, with `freqs` frequencies, and returns a mask.

    A subclass computes the mask in `mask_parts`.
    """

    views = ("complex",)
    scale: Tensor

    def __init__(self, freqs: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(freqs))

    @torch.no_grad()
    def set_statistics(self, statistics: dict[str, tuple[Tensor, Tensor]]) -> None:
        """Scale each frequency to unit power. No mean is subtracted, so that phases are kept."""
        mean, scale = statistics["complex"]
        power = (mean.square() + scale.square()).unflatten(0, (2, -1)).mean(dim=0)
        self.scale.copy_(power.rsqrt())

    def scaled_parts(self, views: Views) -> Float[Tensor, "batch channel 2 freq frame"]:
        """Return the real and the imaginary part of the scaled spectrum."""
        return views["complex"].unflatten(2, (2, -1)) * self.scale[:, None]

    def forward(self, views: Views) -> Mask:
        return torch.view_as_complex(self.mask_parts(views))

    def mask_parts(self, views: Views) -> MaskParts:
        """Return the real and the imaginary part of the mask along the last axis.

        ONNX models use this method instead of `forward`, because ONNX has no complex numbers.
        """
        raise NotImplementedError
