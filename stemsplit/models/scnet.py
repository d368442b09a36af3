"""SCNet, the sparse compression network: the mixture's complex spectrum → the stems' spectra.

Tong et al., "SCNet: Sparse Compression Network for Music Source Separation", ICASSP 2024. With the
same weights, the network gives the same stems as the authors' implementation.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from stemsplit.errors import InputError
from stemsplit.models.shapes import StemSpectra, Views

# Low, middle and high band. Higher bands are compressed more and refined by fewer layers.
KERNELS = (3, 4, 16)  # frequencies
STRIDES = (1, 4, 16)
REFINEMENTS = (3, 2, 1)  # layers
REFINEMENT_KERNEL = 3  # frames
REFINEMENT_COMPRESSION = 4
SILENT = 1e-5  # added to the scale by which the spectrum is divided
QUIETEST_MONO = 0.1  # lower limit of `SCNet.level`, relative to the level of all channels

Features = Float[Tensor, "batch feature freq frame"]
Compressed = Float[Tensor, "batch more_features fewer_freqs frame"]


class Band(NamedTuple):
    """A band of `freqs` frequencies, and the convolution that compresses them."""

    freqs: int
    kernel: int
    stride: int
    refinements: int

    @property
    def padding(self) -> tuple[int, int]:
        """The number of zeros to add below and above the band."""
        total = self.kernel - 1 if self.stride == 1 else -self.freqs % self.stride
        return total // 2, total - total // 2

    @property
    def compressed(self) -> int:
        """The number of frequencies after the compression."""
        return (self.freqs + sum(self.padding) - self.kernel) // self.stride + 1

    @property
    def surplus(self) -> int:
        """The number of frequencies that the transposed convolution adds, and that are cut off."""
        return (self.compressed - 1) * self.stride + self.kernel - self.freqs


def bands_of(freqs: int, low: float, middle: float) -> list[Band]:
    """Divide the frequencies into three bands; `low` and `middle` are shares of the frequencies.

    Raises `InputError` if a band would be empty.
    """
    first, second = math.ceil(freqs * low), math.ceil(freqs * (low + middle))
    sizes = (first, second - first, freqs - second)
    if min(sizes) < 1:
        raise InputError(
            f"{freqs} frequencies cannot be divided into three bands with the shares {low}, "
            f"{middle} and {1 - low - middle:.3g}: choose a longer window, less depth, or other "
            "shares"
        )
    return [Band(*band) for band in zip(sizes, KERNELS, STRIDES, REFINEMENTS, strict=True)]


class Refinement(nn.Module):
    """`layers` residual convolutions along time, with the same weights for every frequency."""

    def __init__(self, features: int, layers: int) -> None:
        super().__init__()
        hidden = max(1, features // REFINEMENT_COMPRESSION)
        kernel = REFINEMENT_KERNEL
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(1, features),
                nn.Conv1d(features, 2 * hidden, kernel, padding="same"),
                nn.GLU(dim=1),
                nn.Conv1d(hidden, hidden, kernel, padding="same", groups=hidden),
                nn.GroupNorm(1, hidden),
                nn.SiLU(),
                nn.Conv1d(hidden, features, 1),
            )
            for _ in range(layers)
        )

    def forward(self, band: Features) -> Features:
        batch, _, freq, _ = band.shape
        sequences = band.transpose(1, 2).flatten(0, 1)
        for layer in self.layers:
            sequences = sequences + layer(sequences)
        return sequences.unflatten(0, (batch, freq)).transpose(1, 2)


class Compression(nn.Module):
    """A block of the encoder: compress and refine each band, then convolve over all of them.

    Returns two tensors: the features for the next block, and, for the decoder, the features before
    the last convolution.
    """

    def __init__(self, bands: list[Band], inputs: int, features: int) -> None:
        super().__init__()
        self.bands = bands
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs, features, (band.kernel, 1), (band.stride, 1)) for band in bands
        )
        self.refinements = nn.ModuleList(Refinement(features, band.refinements) for band in bands)
        self.joined = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, spectrum: Features) -> tuple[Compressed, Compressed]:
        compressed = []
        parts = spectrum.split([band.freqs for band in self.bands], dim=2)
        for band, part, convolution, refinement in zip(
            self.bands, parts, self.convolutions, self.refinements, strict=True
        ):
            padded = functional.pad(part, (0, 0, *band.padding))
            compressed.append(functional.gelu(refinement(convolution(padded))))
        skipped = torch.cat(compressed, dim=2)
        return self.joined(skipped), skipped


class Expansion(nn.Module):
    """A block of the decoder: add the features of the encoder, then expand each band."""

    def __init__(self, bands: list[Band], features: int, outputs: int) -> None:
        super().__init__()
        self.bands = bands
        # In the published network, this convolution reads two copies of the sum of the block's two
        # inputs. `forward` adds the weights for both copies, which gives the same result in half of
        # the time.
        self.fusion = nn.Conv2d(2 * features, 2 * features, 3, padding=1)
        self.convolutions = nn.ModuleList(
            nn.ConvTranspose2d(features, outputs, (band.kernel, 1), (band.stride, 1))
            for band in bands
        )

    def forward(self, features: Compressed, skipped: Compressed) -> Features:
        weight = self.fusion.weight.unflatten(1, (2, -1)).sum(dim=1)
        fused = functional.conv2d(features + skipped, weight, self.fusion.bias, padding=1)
        parts = functional.glu(fused, dim=1).split([band.compressed for band in self.bands], dim=2)
        expanded = []
        for band, part, convolution in zip(self.bands, parts, self.convolutions, strict=True):
            first = band.surplus // 2
            expanded.append(convolution(part)[:, :, first : first + band.freqs])
        return torch.cat(expanded, dim=2)


class RecurrentPath(nn.Module):
    """A residual layer along the second-to-last axis: norm, BLSTM and a dense layer."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, features)
        self.lstm = nn.LSTM(features, features, batch_first=True, bidirectional=True)
        self.output = nn.Linear(2 * features, features)

    def forward(
        self, features: Float[Tensor, "batch feature position other"]
    ) -> Float[Tensor, "batch feature position other"]:
        batch, _, _, other = features.shape
        sequences = self.norm(features).permute(0, 3, 2, 1).flatten(0, 1)
        sequences = self.output(self.lstm(sequences)[0])
        return features + sequences.unflatten(0, (batch, other)).permute(0, 3, 2, 1)


class DualPath(nn.Module):
    """A layer along the frequencies of each frame, then along the frames of each frequency."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.over_freqs = RecurrentPath(features)
        self.over_frames = RecurrentPath(features)

    def forward(self, features: Features) -> Features:
        features = self.over_freqs(features)
        return self.over_frames(features.transpose(2, 3)).transpose(2, 3)


class DualPathPair(nn.Module):
    """Two dual-path layers; the second works on the Fourier transform of the features over frames.

    In the second layer, the last axis holds the frequencies of this transform instead of frames.
    The layer has twice as many features, because the real and the imaginary parts are separate
    features.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.first = DualPath(features)
        self.second = DualPath(2 * features)

    def forward(self, features: Features) -> Features:
        frame = features.shape[3]
        # PyTorch has no Fourier transform for bfloat16.
        transformed = torch.fft.rfft(self.first(features).float(), dim=3, norm="ortho")
        parts = torch.cat([transformed.real, transformed.imag], dim=1)
        real, imaginary = self.second(parts).float().chunk(2, dim=1)
        return torch.fft.irfft(torch.complex(real, imaginary), n=frame, dim=3, norm="ortho")


class SCNet(nn.Module):
    """Complex spectrum of the mixture → complex spectrum of every stem. There is no mask.

    The encoder has `depth` blocks. The first block has `features` features, and each later block
    has twice the features of the block before. `low` and `middle` are the shares of the frequencies
    in the low and middle band of each block. Between encoder and decoder there are `pairs` pairs of
    dual-path layers.

    Each spectrum is normalised to zero mean and unit standard deviation. The inverse of this
    normalisation is applied to the stems, so that a mixture twice as loud has stems twice as loud.
    With `mono_level`, no mean is subtracted, and the spectrum is divided by the level of the
    average of all channels (see `level`), as in the training of the published weights. `level` is
    only correct for spectra with a rectangular window.

    Raises `InputError` if there are too few frequencies for the blocks.
    """

    views = ("complex",)
    maps_spectra = True

    def __init__(
        self,
        bands: dict[str, int],
        sample_rate: int,
        channels: int,
        stems: int,
        features: int = 32,
        depth: int = 3,
        pairs: int = 3,
        low: float = 0.175,
        middle: float = 0.392,
        mono_level: bool = False,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.stems = stems
        self.mono_level = mono_level
        freqs = bands["complex"] // 2
        self.window = 2 * (freqs - 1)
        self.encoder = nn.ModuleList()
        self.decoder = nn.ModuleList()
        inputs, outputs = 2 * channels, 2 * channels * stems  # real and imaginary parts
        for block in range(depth):
            features_here = features * 2**block
            split = bands_of(freqs, low, middle)
            self.encoder.append(Compression(split, inputs, features_here))
            self.decoder.insert(0, Expansion(split, features_here, outputs))
            inputs = outputs = features_here
            freqs = sum(band.compressed for band in split)
        self.separation = nn.Sequential(*(DualPathPair(inputs) for _ in range(pairs)))

    def set_statistics(self, statistics: dict[str, tuple[Tensor, Tensor]]) -> None:
        """Do nothing: `forward` normalises each spectrum separately."""

    def forward(self, views: Views) -> StemSpectra:
        # The published network uses `torch.stft` with ``normalized=True``, which has this factor.
        parts = views["complex"].unflatten(2, (2, -1)) * self.window**-0.5
        spectrum = parts.flatten(1, 2)
        if self.mono_level:
            mean, scale = torch.zeros((), device=spectrum.device), self.level(parts)
        else:
            mean = spectrum.mean(dim=(1, 2, 3), keepdim=True)
            scale = spectrum.std(dim=(1, 2, 3), keepdim=True)
        features = (spectrum - mean) / (scale + SILENT)
        skipped = []
        for compress in self.encoder:
            features, before = compress(features)
            skipped.append(before)
        features = self.separation(features)
        for expand in self.decoder:
            features = expand(features, skipped.pop())
        stems = (features.float() * scale + mean) * self.window**0.5
        stems = stems.unflatten(1, (self.stems, self.channels, 2))
        return torch.view_as_complex(stems.movedim(3, -1).contiguous())

    def level(
        self, parts: Float[Tensor, "batch channel 2 freq frame"]
    ) -> Float[Tensor, "batch 1 1 1"]:
        """Return the root mean square of the average of all channels, computed from its spectrum.

        Channels of opposite sign cancel in the average. The result is therefore never below a tenth
        of the root mean square of all channels. Otherwise the input of the network would become
        extremely large.
        """

        def power(spectra: Tensor) -> Float[Tensor, "batch 1 1 1"]:
            # The energy is a sum over positive and negative frequencies. The spectrum has only one
            # of each pair, so all frequencies count twice, except the first and the last.
            energy = 2 * spectra.square()
            edges = spectra[..., [0, -1], :].square().sum(dim=(-3, -2), keepdim=True)
            total = energy.sum(dim=(-3, -2), keepdim=True) - edges
            return total.mean(dim=(1, -1), keepdim=True)[:, 0] / self.window

        mono = power(parts.mean(dim=1, keepdim=True))
        return torch.maximum(mono, QUIETEST_MONO**2 * power(parts)).sqrt()
