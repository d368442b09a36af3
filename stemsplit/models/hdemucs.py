"""Hybrid Demucs: a U-Net on the waveform and a U-Net on its spectrum share their inner layers.

The network is torchaudio's (Défossez, "Hybrid Spectrogram and Waveform Source Separation", 2021).
"""

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional

from stemsplit.errors import InputError
from stemsplit.models.shapes import Stems, Waveform

WINDOWS = (1024, 2048, 4096)  # with these, the hop is the total stride of the waveform's U-Net
SILENT = 1e-8  # added to the standard deviation of the mixture
# Smallest scale with `mono_level`, relative to the standard deviation over all channels.
QUIETEST_MONO = 0.1


class HybridDemucs(nn.Module):
    """The mixture's waveform → the stems' waveforms, of any length.

    The network has `depth` layers. The first layer has `features` channels, and each later layer
    has twice as many as the layer before. The network computes its own Fourier transform with the
    front end's window and a hop of a quarter window.

    Each mixture is normalised to zero mean and unit standard deviation. The inverse of this
    normalisation is applied to the stems, so that a mixture twice as loud has stems twice as loud.
    With `mono_level`, the mixture is divided by the standard deviation of the average of all
    channels instead, as in the training of torchaudio's weights.

    Raises `InputError` if the window is not in `WINDOWS`.
    """

    views: tuple[str, ...] = ()

    def __init__(
        self,
        bands: dict[str, int],
        sample_rate: int,
        channels: int,
        stems: int,
        features: int = 48,
        depth: int = 6,
        mono_level: bool = False,
    ) -> None:
        super().__init__()
        window = 2 * (bands["magnitude"] - 1)
        if window not in WINDOWS:
            raise InputError(f"Hybrid Demucs cannot use window {window}: choose one of {WINDOWS}")
        self.window = window
        self.mono_level = mono_level
        self.demucs = torchaudio.models.HDemucs(
            sources=[f"stem {stem}" for stem in range(stems)],
            audio_channels=channels,
            channels=features,
            nfft=window,
            depth=depth,
        )

    def set_statistics(self, statistics: dict[str, tuple[Tensor, Tensor]]) -> None:
        """Do nothing: `forward` normalises each mixture separately."""

    def forward(self, mixture: Waveform) -> Stems:
        mean = mixture.mean(dim=(1, 2), keepdim=True)
        scale = mixture.std(dim=(1, 2), keepdim=True, correction=0) + SILENT
        if self.mono_level:
            mono = mixture.mean(dim=1, keepdim=True)
            # Channels of opposite sign cancel in the average. Without a lower limit, the division
            # by a tiny scale would overflow.
            scale = torch.maximum(
                mono.std(dim=2, keepdim=True, correction=0), QUIETEST_MONO * scale
            )
        time = mixture.shape[2]
        # The network divides by standard deviations over time, which need more than one sample. So
        # short mixtures are padded to a window.
        normalised = functional.pad((mixture - mean) / scale, (0, max(0, self.window - time)))
        stems = self.demucs(normalised)[..., :time]
        return stems * scale[:, None] + mean[:, None]
