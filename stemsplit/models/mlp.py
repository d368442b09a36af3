"""A three-layer perceptron that reads one frame at a time."""

from torch import Tensor, nn

from stemsplit.models.blocks.layers import DenseMask, InputNorm, bands_below
from stemsplit.models.shapes import Mask, Views


class Mlp(nn.Module):
    """Magnitudes up to `bandwidth_hertz` → three dense layers with ReLU → a mask ≥ 0.

    `hidden` is the width of the two hidden layers.
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
        batch_norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        freqs = bands["magnitude"]
        bands_read = bands_below(bandwidth_hertz, sample_rate, freqs)
        self.norm = InputNorm(bands_read)
        self.dense = DenseMask(
            bands_read * channels, hidden, stems, channels, freqs, batch_norm, dropout
        )

    def set_statistics(self, statistics: dict[str, tuple[Tensor, Tensor]]) -> None:
        self.norm.start_from(*statistics["magnitude"])

    def forward(self, views: Views) -> Mask:
        return self.dense(self.norm(views["magnitude"]))
