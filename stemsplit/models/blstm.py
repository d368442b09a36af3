"""Bidirectional LSTMs that encode one or more views of the mixture, and a decoder to a mask.

With the view ``magnitude`` alone this is open-unmix (Stöter, Uhlich, Liutkus and Mitsufuji,
"Open-Unmix - A Reference Implementation for Music Source Separation", JOSS 2019), layer by layer.
With the views ``magnitude`` and ``mel`` it is the model that this package proposes: each view has
its own encoder and its own BLSTM, and their features are added before the decoder.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from stemsplit.errors import InputError
from stemsplit.models.blocks.layers import InputNorm, bands_below, normed, scale_and_shift
from stemsplit.models.shapes import Mask, View, Views


class Branch(nn.Module):
    """Encode one view as `hidden` features per frame, and append the output of a BLSTM."""

    def __init__(self, bands: int, channels: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.norm = InputNorm(bands)
        self.encoder = nn.Linear(bands * channels, hidden, bias=False)
        self.encoder_norm = nn.BatchNorm1d(hidden)
        self.lstm = nn.LSTM(
            hidden,
            hidden // 2,
            num_layers=layers,
            bidirectional=True,
            dropout=dropout if layers > 1 else 0.0,
        )

    def forward(self, view: View) -> Float[Tensor, "frame batch hidden"]:
        frames = self.norm(view)
        encoded = normed(frames.flatten(0, 1), self.encoder, self.encoder_norm)
        encoded = torch.tanh(encoded).reshape(*frames.shape[:2], -1)
        return torch.cat([encoded, self.lstm(encoded)[0]], dim=-1)


class Blstm(nn.Module):
    """Views → a real mask ≥ 0 for every stem, channel and frequency.

    `bands` is the number of bands of each view. The network reads ``magnitude`` only up to
    `bandwidth_hertz`, but the mask covers all frequencies. `hidden` is the number of features;
    each direction of a BLSTM has half of them. Raises `InputError` if `hidden` is odd.
    """

    def __init__(
        self,
        bands: dict[str, int],
        sample_rate: int,
        channels: int,
        stems: int,
        views: Sequence[str] = ("magnitude",),
        bandwidth_hertz: float = 16000.0,
        hidden: int = 512,
        layers: int = 3,
        dropout: float = 0.4,
    ) -> None:
        super().__init__()
        if hidden % 2:
            raise InputError(
                f"hidden {hidden} must be even: each direction of the BLSTM gets half of the units"
            )
        self.views = tuple(views)
        self.stems = stems
        self.channels = channels
        freqs = bands["magnitude"]
        bands_read = {**bands, "magnitude": bands_below(bandwidth_hertz, sample_rate, freqs)}
        self.branches = nn.ModuleDict(
            {
                view: Branch(bands_read[view], channels, hidden, layers, dropout)
                for view in self.views
            }
        )
        self.decoder = nn.Sequential(
            nn.Linear(2 * hidden, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, stems * channels * freqs, bias=False),
            nn.BatchNorm1d(stems * channels * freqs),
        )
        self.output_scale = nn.Parameter(torch.ones(stems, 1, freqs))
        self.output_mean = nn.Parameter(torch.ones(stems, 1, freqs))

    def _branches(self) -> list[tuple[str, Branch]]:
        return cast(list[tuple[str, Branch]], list(self.branches.items()))

    def set_statistics(self, statistics: dict[str, tuple[Tensor, Tensor]]) -> None:
        """Initialise the input norms, so that all bands have zero mean and unit scale.

        Training changes the norms.
        """
        for view, branch in self._branches():
            branch.norm.start_from(*statistics[view])

    def forward(self, views: Views) -> Mask:
        features = torch.stack([branch(views[view]) for view, branch in self._branches()]).sum(
            dim=0
        )
        frame, batch, _ = features.shape
        decoded = self._decoded(features.flatten(0, 1))
        mask = torch.relu(decoded).reshape(frame, batch, self.stems, self.channels, -1)
        return mask.permute(1, 2, 3, 4, 0)

    def _decoded(self, features: Float[Tensor, "item feature"]) -> Float[Tensor, "item output"]:
        """Apply the decoder, and the scale and the mean of the outputs."""
        first, first_norm, relu, second, second_norm = cast(Any, self.decoder)
        hidden = relu(normed(features, first, first_norm))
        scale = self.output_scale.expand(-1, self.channels, -1).flatten()
        mean = self.output_mean.expand(-1, self.channels, -1).flatten()
        if second_norm.training:
            # The weight and the bias of the norm include the scale and the mean. This saves four
            # passes over the largest array of the network, two of them in the backward pass.
            weights = {
                "weight": second_norm.weight * scale,
                "bias": second_norm.bias * scale + mean,
            }
            return functional_call(second_norm, weights, (second(hidden),))
        # One matrix product includes the norm, the scale and the mean. This saves several passes
        # over the largest array of the network.
        norm_scale, shift = scale_and_shift(second_norm)
        weight = (scale * norm_scale)[:, None] * second.weight
        return functional.linear(hidden, weight, scale * shift + mean)
