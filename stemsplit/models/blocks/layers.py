"""Layers that normalise a view, and dense layers that estimate a mask."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from stemsplit.errors import InputError
from stemsplit.models.shapes import View

Frames = Float[Tensor, "frame batch feature"]


class InputNorm(nn.Module):
    """Shift and scale each of the first `bands` bands of a view; return frames of features.

    Shifts and scales start from the statistics of the training set and are then trained, as in
    open-unmix.
    """

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.bands = bands
        self.mean = nn.Parameter(torch.zeros(bands))
        self.scale = nn.Parameter(torch.ones(bands))

    @torch.no_grad()
    def start_from(self, mean: Float[Tensor, " band"], scale: Float[Tensor, " band"]) -> None:
        """Set the shifts and scales that normalise inputs with this mean and this scale."""
        self.mean.copy_(-mean[: self.bands])
        self.scale.copy_(1 / scale[: self.bands])

    def forward(self, view: View) -> Frames:
        bands = view[:, :, : self.bands].permute(3, 0, 1, 2)
        return ((bands + self.mean) * self.scale).flatten(2)


def normed(
    features: Float[Tensor, "item feature"], linear: nn.Linear, norm: nn.Module
) -> Float[Tensor, "item hidden"]:
    """Apply a linear layer and its norm; in evaluation mode, one matrix product does both.

    Only batch normalisation is merged into the product. Any other norm is applied after the layer.
    """
    if norm.training or not isinstance(norm, nn.BatchNorm1d):
        return norm(linear(features))
    scale, shift = scale_and_shift(norm)
    if linear.bias is not None:
        shift = shift + scale * linear.bias
    return functional.linear(features, scale[:, None] * linear.weight, shift)


def scale_and_shift(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Return the factor and the offset that batch normalisation applies to each feature."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale


class DenseMask(nn.Module):
    """Three dense layers with ReLU, applied to each frame: features → a mask ≥ 0.

    With `batch_norm`, batch normalisation precedes the ReLU of the two hidden layers. `dropout`
    follows each of these ReLUs. At initialisation the mask is close to one, so that the whole
    mixture passes.
    """

    def __init__(
        self,
        features: int,
        hidden: int,
        stems: int,
        channels: int,
        freqs: int,
        batch_norm: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.shape = (stems, channels, freqs)
        self.first = HiddenLayer(features, hidden, batch_norm, dropout)
        self.second = HiddenLayer(hidden, hidden, batch_norm, dropout)
        self.third = nn.Linear(hidden, stems * channels * freqs)
        # With a bias near zero, half of the outputs of the last ReLU would be 0 from the start, and
        # would not learn.
        nn.init.ones_(self.third.bias)

    def forward(self, frames: Frames) -> Float[Tensor, "batch stem channel freq frame"]:
        mask = torch.relu(self.third(self.second(self.first(frames))))
        return mask.unflatten(2, self.shape).permute(1, 2, 3, 4, 0)


class HiddenLayer(nn.Module):
    """A dense layer, optional batch normalisation, ReLU and dropout."""

    def __init__(self, features: int, hidden: int, batch_norm: bool, dropout: float) -> None:
        super().__init__()
        self.linear = nn.Linear(features, hidden, bias=not batch_norm)
        self.norm = nn.BatchNorm1d(hidden) if batch_norm else nn.Identity()
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames: Frames) -> Float[Tensor, "frame batch hidden"]:
        frame, batch, _ = frames.shape
        hidden = normed(frames.flatten(0, 1), self.linear, self.norm)
        return self.dropout(torch.relu(hidden)).reshape(frame, batch, -1)


def bands_below(hertz: float, sample_rate: int, freqs: int) -> int:
    """Return the number of frequencies at or below `hertz`.

    `freqs` is the number of frequencies from 0 Hz to half the sample rate. Raises `InputError` if
    `hertz` is not positive.
    """
    if hertz <= 0:
        raise InputError(f"bandwidth {hertz} Hz must be above 0")
    return min(freqs, int(hertz * 2 * (freqs - 1) / sample_rate) + 1)
