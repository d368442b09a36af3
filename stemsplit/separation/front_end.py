"""The front end: short-time Fourier transform, its inverse, and the views that networks read."""

import math
import warnings
from collections.abc import Sequence

import torch
import torchaudio
from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.nn import functional

from stemsplit.errors import InputError
from stemsplit.models.shapes import Spectrum, View, Views

VIEWS = ("magnitude", "mel", "mfcc", "complex")


class FrontEnd(nn.Module):
    """The short-time Fourier transform and its views, of a waveform in ±1.

    `window` and `hop` are in samples (Hann window, centred frames, reflected at the edges, as
    open-unmix has them). Views of a spectrum, each `(batch, channel, band, frame)`:

    - ``magnitude``: absolute value of the spectrum, one band per frequency;
    - ``mel``: magnitudes summed by mel filters (Slaney's scale and norm, as librosa has them) up
      to `mel_hertz`;
    - ``complex``: real parts of the spectrum, then imaginary parts, two bands per frequency;
    - ``mfcc``: the first `mfccs` cosine-transform coefficients of the mel power spectrum in dB.
      Its logarithm has a fixed floor of `floor` and no ``top_db``: a limit relative to the
      loudest frame would make a frame's coefficients depend on the excerpt around it.

    Nothing is learned and nothing is saved: equal settings give equal results.
    """

    window_function: Tensor
    mel_filters: Tensor
    cosines: Tensor

    def __init__(
        self,
        sample_rate: int = 44100,
        window: int = 4096,
        hop: int = 1024,
        mel_bands: int = 128,
        mel_hertz: float = 16000.0,
        mfccs: int = 40,
        floor: float = 1e-10,
    ) -> None:
        super().__init__()
        # With half-overlapping windows the last samples of some lengths could not be inverted.
        if sample_rate < 1 or window < 3:
            raise InputError(f"sample rate {sample_rate} and window {window} must be larger")
        divisors = [size for size in range(1, window // 3 + 1) if window % size == 0]
        if hop not in divisors:
            raise InputError(
                f"hop {hop} does not divide window {window} three times or more: "
                f"choose one of {divisors[-8:]}"
            )
        if mfccs > mel_bands:
            raise InputError(f"{mfccs} MFCCs cannot be made of {mel_bands} mel bands")
        self.sample_rate = sample_rate
        self.window = window
        self.hop = hop
        self.mel_bands = mel_bands
        self.floor = floor
        self.settings = (sample_rate, window, hop, mel_bands, mel_hertz, mfccs, floor)
        # (Not librosa's own: numba, which it imports, fails where it finds no folder for a cache.)
        with warnings.catch_warnings():
            # Low bands narrower than a frequency of the window are empty; librosa's are as well.
            warnings.filterwarnings("ignore", "At least one mel filterbank has all zero values")
            filters = torchaudio.functional.melscale_fbanks(
                window // 2 + 1,
                f_min=0.0,
                f_max=min(mel_hertz, sample_rate / 2),
                n_mels=mel_bands,
                sample_rate=sample_rate,
                norm="slaney",
                mel_scale="slaney",
            ).T.contiguous()
        self.register_buffer("window_function", torch.hann_window(window), persistent=False)
        self.register_buffer("mel_filters", filters, persistent=False)
        cosines = torchaudio.functional.create_dct(mfccs, mel_bands, norm="ortho")
        self.register_buffer("cosines", cosines, persistent=False)

    def bands(self, view: str) -> int:
        """How many bands a view has."""
        silence = torch.zeros(1, 1, self.window // 2 + 1, 1, dtype=torch.complex64)
        return self._view(view, silence).shape[2]

    def forward(
        self, waveform: Float[Tensor, "*leading time"]
    ) -> Complex[Tensor, "*leading freq frame"]:
        """The spectrum of waveforms; those shorter than a window are padded with silence."""
        *leading, time = waveform.shape
        samples = waveform.float().reshape(math.prod(leading), time)
        if time < self.window:
            samples = functional.pad(samples, (0, self.window - time))
        spectrum = torch.stft(
            samples, self.window, self.hop, window=self.window_function, return_complex=True
        )
        return spectrum.reshape(*leading, *spectrum.shape[-2:])

    def inverse(self, spectrum: Tensor, time: int) -> Tensor:
        """The waveform `(…, time)` of a spectrum `(…, freq, frame)`, exactly `time` samples."""
        leading = spectrum.shape[:-2]
        samples = torch.istft(
            spectrum.reshape(-1, *spectrum.shape[-2:]),
            self.window,
            self.hop,
            window=self.window_function,
            length=max(time, self.window),
        )
        return samples[:, :time].reshape(*leading, time)

    def views(self, spectrum: Spectrum, names: Sequence[str]) -> Views:
        """The named views of a spectrum."""
        with torch.autocast(spectrum.device.type, enabled=False):
            return {name: self._view(name, spectrum) for name in names}

    def _view(self, name: str, spectrum: Spectrum) -> View:
        match name:
            case "magnitude":
                return spectrum.abs()
            case "mel":
                return self.mel_filters @ spectrum.abs()
            case "complex":
                return torch.cat([spectrum.real, spectrum.imag], dim=2)
            case "mfcc":
                power = self.mel_filters @ spectrum.abs().square()
                return self.cosines.T @ (10 * power.clamp(min=self.floor).log10())
        raise InputError(f"there is no view {name!r}: choose among {VIEWS}")
