"""Hybrid Demucs: two U-Nets, over the waveform and over its spectrum, with a shared middle.

The network is torchaudio's (Défossez, "Hybrid Spectrogram and Waveform Source Separation", 2021).
"""

import torchaudio
from torch import Tensor, nn
from torch.nn import functional

from stemsplit.errors import InputError
from stemsplit.models.shapes import Stems, Waveform

WINDOWS = (1024, 2048, 4096)  # for which a frame is as long as the waveform's U-Net strides
SILENT = 1e-8


class HybridDemucs(nn.Module):
    """The mixture's waveform → the stems' waveforms, of any length.

    `features` are the channels of the first layer, each of the `depth` layers has twice as many as
    the one before. The network's own Fourier transform has the front end's window, and a quarter
    of it as its hop. Mixtures are brought to a mean of zero and a deviation of one, and the stems
    back, so that a mixture twice as loud has stems twice as loud.
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
    ) -> None:
        super().__init__()
        window = 2 * (bands["magnitude"] - 1)
        if window not in WINDOWS:
            raise InputError(f"Hybrid Demucs has no window of {window}: choose among {WINDOWS}")
        self.window = window
        self.demucs = torchaudio.models.HDemucs(
            sources=[f"stem {stem}" for stem in range(stems)],
            audio_channels=channels,
            channels=features,
            nfft=window,
            depth=depth,
        )

    def set_statistics(self, statistics: dict[str, tuple[Tensor, Tensor]]) -> None:
        """Nothing: every mixture is normalised by itself."""

    def forward(self, mixture: Waveform) -> Stems:
        mean = mixture.mean(dim=(1, 2), keepdim=True)
        scale = mixture.std(dim=(1, 2), keepdim=True, correction=0) + SILENT
        time = mixture.shape[2]
        # The network takes deviations over time, which a single sample has not.
        normalised = functional.pad((mixture - mean) / scale, (0, max(0, self.window - time)))
        stems = self.demucs(normalised)[..., :time]
        return stems * scale[:, None] + mean[:, None]
