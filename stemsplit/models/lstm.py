"""A causal network with unidirectional LSTM layers and three dense layers."""

from torch import Tensor, nn

from stemsplit.models.blocks.layers import DenseMask, InputNorm, bands_below
from stemsplit.models.shapes import Mask, Views

State = tuple[Tensor, Tensor]


class Lstm(nn.Module):
    """Magnitudes up to `bandwidth_hertz` → LSTM → three dense layers with ReLU → a mask ≥ 0.

    The network is causal: the mask of a frame depends on this frame and earlier frames only, so
    that `step` can process a stream. `hidden` is the width of every hidden layer. `dropout` also
    acts between the LSTM `layers`, if there are several.
    """

    views = ("magnitude",)

    def __init__(
        self,
        bands: dict[str, int],
        sample_rate: int,
        channels: int,
        stems: int,
        bandwidth_hertz: float = 16000.0,
        hidden: int = 512,
        layers: int = 1,
        batch_norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        freqs = bands["magnitude"]
        bands_read = bands_below(bandwidth_hertz, sample_rate, freqs)
        self.norm = InputNorm(bands_read)
        self.lstm = nn.LSTM(
            bands_read * channels,
            hidden,
            num_layers=layers,
            dropout=dropout if layers > 1 else 0.0,
        )
        self.dense = DenseMask(hidden, hidden, stems, channels, freqs, batch_norm, dropout)

    def set_statistics(self, statistics: dict[str, tuple[Tensor, Tensor]]) -> None:
        self.norm.start_from(*statistics["magnitude"])

    def forward(self, views: Views) -> Mask:
        return self.step(views, None)[0]

    def step(self, views: Views, state: State | None) -> tuple[Mask, State]:
        """Return the mask of the next frames and the new state; `state` is None at the start."""
        features, state = self.lstm(self.norm(views["magnitude"]), state)
        return self.dense(features), state
