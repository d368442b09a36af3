"""The front end: the short-time Fourier transform, its inverse, and the views of a spectrum.

A view is a representation of the spectrum, such as mel bands, that networks read as an input.
"""

import math
import warnings
from collections.abc import Callable, Sequence

import torch
import torchaudio
from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.nn import functional

from stemsplit.errors import InputError
from stemsplit.models.shapes import Spectrum, View, Views
from stemsplit.separation.spectra import magnitude

# An untrusted checkpoint may ask for any size. These limits bound the memory for the mel filters.
LONGEST_WINDOW = 2**16
MOST_MEL_BANDS = 4096
# The length of a chunk is set in seconds, so a limit on the sample rate limits its memory, too.
HIGHEST_SAMPLE_RATE = 768_000  # Hz
VIEWS = ("magnitude", "mel", "mfcc", "complex")
WINDOW_SHAPES: dict[str, Callable[[int], Tensor]] = {
    "hann": torch.hann_window,
    "rectangular": torch.ones,
}


class FrontEnd(nn.Module):
    """Short-time Fourier transform of a waveform in ±1, and views of the spectrum.

    `window` and `hop` are in samples. As in open-unmix, the window is a Hann window by default,
    frames are centred, and the waveform is reflected at its edges. `window_shape` is a key of
    `WINDOW_SHAPES`. The views of a spectrum have the shape
    `(batch, channel, band, frame)`:

    - ``magnitude``: absolute value of the spectrum, one band per frequency;
    - ``mel``: magnitudes summed by mel filters up to `mel_hertz` (Slaney's scale and norm, as in
      librosa);
    - ``complex``: real parts of the spectrum, then imaginary parts, two bands per frequency;
    - ``mfcc``: the first `mfccs` cosine-transform coefficients of the mel power spectrum in dB.
      The power is at least `floor`. Unlike in librosa, there is no limit relative to the loudest
      frame (``top_db``). With this limit, the coefficients of a frame would depend on the rest of
      the excerpt.

    The front end has no parameters. Its buffers are computed from the settings, so they are not
    saved. Raises `InputError` for settings that do not fit together.
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
        window_shape: str = "hann",
    ) -> None:
        super().__init__()
        if sample_rate < 1 or window < 3:
            raise InputError(
                f"sample rate {sample_rate} must be at least 1, and window {window} at least 3"
            )
        if sample_rate > HIGHEST_SAMPLE_RATE:
            raise InputError(f"sample rate {sample_rate} must be at most {HIGHEST_SAMPLE_RATE}")
        if window > LONGEST_WINDOW or mel_bands > MOST_MEL_BANDS:
            raise InputError(
                f"window {window} must be at most {LONGEST_WINDOW}, and mel_bands {mel_bands} at "
                f"most {MOST_MEL_BANDS}"
            )
        # A hop of half a window is refused, because the inverse would lose the last samples of some
        # waveforms.
        divisors = [size for size in range(1, window // 3 + 1) if window % size == 0]
        if hop not in divisors:
            raise InputError(
                f"hop {hop} does not divide window {window} into three or more parts: "
                f"choose one of {divisors[-8:]}"
            )
        if window_shape not in WINDOW_SHAPES:
            raise InputError(
                f"unknown window shape {window_shape!r}: choose one of {', '.join(WINDOW_SHAPES)}"
            )
        if mfccs > mel_bands:
            raise InputError(f"{mfccs} MFCCs need at least {mfccs} mel bands, not {mel_bands}")
        self.sample_rate = sample_rate
        self.window = window
        self.hop = hop
        self.mel_bands = mel_bands
        self.floor = floor
        self.settings = (sample_rate, window, hop, mel_bands, mel_hertz, mfccs, floor, window_shape)
        # These filters equal the filters of librosa. librosa is not used, because it imports numba,
        # which needs a cache folder.
        with warnings.catch_warnings():
            # A mel band that lies between two frequencies has only zeros, as in librosa.
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
        shape = WINDOW_SHAPES[window_shape](window)
        self.register_buffer("window_function", shape, persistent=False)
        self.register_buffer("mel_filters", filters, persistent=False)
        cosines = torchaudio.functional.create_dct(mfccs, mel_bands, norm="ortho")
        self.register_buffer("cosines", cosines, persistent=False)

    def bands(self, view: str) -> int:
        """Return the number of bands of a view."""
        silence = torch.zeros(1, 1, self.window // 2 + 1, 1, dtype=torch.complex64)
        return self._view(view, silence).shape[2]

    def forward(
        self, waveform: Float[Tensor, "*leading time"]
    ) -> Complex[Tensor, "*leading freq frame"]:
        """Return the spectrum; waveforms shorter than a window are padded with silence."""
        *leading, time = waveform.shape
        samples = waveform.float().reshape(math.prod(leading), time)
        if time < self.window:
            samples = functional.pad(samples, (0, self.window - time))
        spectrum = torch.stft(
            samples, self.window, self.hop, window=self.window_function, return_complex=True
        )
        return spectrum.reshape(*leading, *spectrum.shape[-2:])

    def inverse(self, spectrum: Tensor, time: int) -> Tensor:
        """Return the waveform `(…, time)` of a spectrum `(…, freq, frame)`, cut to `time`."""
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
        """Return the named views of a spectrum; raises `InputError` for an unknown name."""
        with torch.autocast(spectrum.device.type, enabled=False):
            return {name: self._view(name, spectrum) for name in names}

    def _view(self, name: str, spectrum: Spectrum) -> View:
        match name:
            case "magnitude":
                return magnitude(spectrum)
            case "mel":
                return self.mel_filters @ magnitude(spectrum)
            case "complex":
                return torch.cat([spectrum.real, spectrum.imag], dim=2)
            case "mfcc":
                power = self.mel_filters @ magnitude(spectrum).square()
                return self.cosines.T @ (10 * power.clamp(min=self.floor).log10())
        raise InputError(f"unknown view {name!r}: choose from {VIEWS}")
