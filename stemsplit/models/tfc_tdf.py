"""TFC-TDF U-Net: convolutions over time and frequency, and dense layers over the frequencies.

The network is similar to that of Kim, Lee and Jung, "Sound Demixing Challenge 2023 Music Demixing
Track Technical Report: TFC-TDF-UNet v3", 2023. TFC stands for time-frequency convolutions, TDF for
time-distributed fully connected layers.

This network is smaller than the published one, and it estimates a mask. The encoder and the decoder
have one block each per level. All features are normalised together; the published models normalise
each feature separately. A block adds its input to its output without a convolution. The features of
the encoder are added to the features of the decoder, and not concatenated with them.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from stemsplit.models.blocks.complex_mask import ComplexMask, MaskParts
from stemsplit.models.shapes import Views

STRIDE = 2  # each level has 1/STRIDE of the frequencies and of the frames of the level above

Features = Float[Tensor, "batch feature freq frame"]


class NormedLayer(nn.Sequential):
    """Normalise over all features, frequencies and frames together; apply GELU, then `layer`."""

    def __init__(self, features: int, layer: nn.Module) -> None:
        super().__init__(nn.GroupNorm(1, features), nn.GELU(), layer)


class OverFrequencies(nn.Module):
    """Apply a dense layer to the frequencies of each frame."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)

    def forward(self, features: Features) -> Float[Tensor, "batch feature outputs frame"]:
        return torch.matmul(self.linear.weight, features)


class Block(nn.Module):
    """Two convolutions; between them, two dense layers over the frequencies with a bottleneck.

    The pair of dense layers has a residual connection, and so has the whole block. The first dense
    layer reduces the `freqs` frequencies to ``freqs // bottleneck`` values.
    """

    def __init__(self, features: int, freqs: int, bottleneck: int) -> None:
        super().__init__()
        hidden = max(1, freqs // bottleneck)
        self.first = self.convolution(features)
        self.over_freqs = nn.Sequential(
            NormedLayer(features, OverFrequencies(freqs, hidden)),
            NormedLayer(features, OverFrequencies(hidden, freqs)),
        )
        self.second = self.convolution(features)

    @staticmethod
    def convolution(features: int) -> NormedLayer:
        return NormedLayer(features, nn.Conv2d(features, features, 3, padding=1, bias=False))

    def forward(self, features: Features) -> Features:
        convolved = self.first(features)
        return features + self.second(convolved + self.over_freqs(convolved))


class TFCTDFUNet(ComplexMask):
    """Complex spectrum → a complex mask for every stem, channel and frequency.

    The frequencies are divided into `sub_bands` equal bands. The bands become channels of the first
    convolution, so that the convolutions have fewer positions. The U-Net has `depth` levels and an
    innermost level below them. The first level has `features` features, and each further level has
    `features` more, at half of the frequencies and half of the frames.
    """

    def __init__(
        self,
        bands: dict[str, int],
        sample_rate: int,
        channels: int,
        stems: int,
        features: int = 24,
        depth: int = 3,
        sub_bands: int = 8,
        bottleneck: int = 8,
    ) -> None:
        self.freqs = bands["complex"] // 2
        super().__init__(self.freqs)
        self.shape = (stems, channels)
        self.sub_bands = sub_bands
        self.stem_groups = sub_bands  # the outputs are ordered by sub-band, then by stem
        self.multiple = STRIDE**depth  # frequencies and frames are padded to a multiple of this
        sizes = [features * (level + 1) for level in range(depth + 1)]
        heights = [self.sub_band_freqs // STRIDE**level for level in range(depth + 1)]

        self.input = nn.Conv2d(sub_bands * channels * 2, features, 1)
        self.encoder = nn.ModuleList()
        self.downward = nn.ModuleList()
        self.upward = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for size, larger, freqs in zip(sizes[:-1], sizes[1:], heights[:-1], strict=True):
            self.encoder.append(Block(size, freqs, bottleneck))
            down = nn.Conv2d(size, larger, STRIDE, STRIDE, bias=False)
            self.downward.append(NormedLayer(size, down))
            up = nn.ConvTranspose2d(larger, size, STRIDE, STRIDE, bias=False)
            self.upward.insert(0, NormedLayer(larger, up))
            self.decoder.insert(0, Block(size, freqs, bottleneck))
        self.innermost = Block(sizes[-1], heights[-1], bottleneck)
        output = nn.Conv2d(features, sub_bands * stems * channels * 2, 1)
        self.output = NormedLayer(features, output)
        with torch.no_grad():
            # At initialisation the mask is close to one, so that the whole mixture passes.
            assert output.bias is not None
            output.bias.zero_()
            output.bias.unflatten(0, (sub_bands, -1, 2))[..., 0] = 1

    @property
    def sub_band_freqs(self) -> int:
        """The number of frequencies of a sub-band; the last sub-band is padded with zeros."""
        return math.ceil(self.freqs / (self.sub_bands * self.multiple)) * self.multiple

    def mask_parts(self, views: Views) -> MaskParts:
        parts = self.scaled_parts(views)
        frame = views["complex"].shape[3]
        missing_frames = -frame % self.multiple
        missing_freqs = self.sub_bands * self.sub_band_freqs - self.freqs
        spectrum = functional.pad(parts.flatten(1, 2), (0, missing_frames, 0, missing_freqs))
        features = self.input(spectrum.unflatten(2, (self.sub_bands, -1)).flatten(1, 2))
        skipped = []
        for block, down in zip(self.encoder, self.downward, strict=True):
            features = block(features)
            skipped.append(features)
            features = down(features)
        features = self.innermost(features)
        for up, block in zip(self.upward, self.decoder, strict=True):
            features = block(up(features) + skipped.pop())
        # PyTorch has no complex type for bfloat16, so the mask is converted to float32.
        mask = self.output(features).float().unflatten(1, (self.sub_bands, *self.shape, 2))
        mask = mask.permute(0, 2, 3, 1, 5, 6, 4).flatten(3, 4)
        return mask[:, :, :, : self.freqs, :frame].contiguous()
