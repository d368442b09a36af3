"""The front end: its inverse is exact, and its views equal librosa's."""

import librosa
import numpy as np
import pytest
import torch
from torch import Tensor

from stemsplit.errors import InputError
from stemsplit.separation.front_end import VIEWS, FrontEnd
from stemsplit.separation.spectra import magnitude, masked

RATE, WINDOW, HOP, MELS, MFCCS = 8000, 512, 128, 32, 13


@pytest.fixture(scope="module")
def front_end() -> FrontEnd:
    return FrontEnd(RATE, WINDOW, HOP, mel_bands=MELS, mel_hertz=3000.0, mfccs=MFCCS)


def noise(channel: int, time: int) -> Tensor:
    """Noise in ±1 whose second half is 120 dB quieter, to detect a floor relative to the peak."""
    samples = 2 * torch.rand(1, channel, time, generator=torch.Generator().manual_seed(time)) - 1
    samples[..., time // 2 :] *= 1e-6
    return samples


@pytest.mark.parametrize("channel", [1, 2])
@pytest.mark.parametrize("time", [1, 100, WINDOW - 1, WINDOW, WINDOW + 1, 3000, 10 * HOP + 127])
@pytest.mark.parametrize("hop", [32, 128])
def test_inverse_restores_the_waveform(channel: int, time: int, hop: int) -> None:
    front_end = FrontEnd(RATE, WINDOW, hop, mel_bands=MELS, mfccs=MFCCS)
    waveform = noise(channel, time)
    restored = front_end.inverse(front_end(waveform), time)
    torch.testing.assert_close(restored, waveform, rtol=0, atol=1e-6)


def views_of_librosa(waveform: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the spectrum and its views of a waveform `(channel, time)` with librosa."""
    spectrum = librosa.stft(waveform, n_fft=WINDOW, hop_length=HOP, pad_mode="reflect")
    magnitude = np.abs(spectrum)
    mels = {"sr": RATE, "n_fft": WINDOW, "n_mels": MELS, "fmax": 3000.0}
    power = librosa.feature.melspectrogram(S=magnitude**2, **mels)
    decibels = librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None)
    return {
        "spectrum": spectrum,
        "magnitude": magnitude,
        "mel": librosa.feature.melspectrogram(S=magnitude, power=1, **mels),
        "mfcc": librosa.feature.mfcc(S=decibels, n_mfcc=MFCCS),
    }


@pytest.mark.parametrize("time", [WINDOW, 3001])
def test_spectrum_and_views_equal_librosa(front_end: FrontEnd, time: int) -> None:
    waveform = noise(2, time)
    spectrum = front_end(waveform)
    ours = {"spectrum": spectrum, **front_end.views(spectrum, VIEWS)}
    for name, expected in views_of_librosa(waveform[0].numpy()).items():
        error = np.abs(ours[name][0].numpy() - expected).max()
        assert error <= 1e-4 * np.abs(expected).max(), name


def test_mfccs_of_a_frame_do_not_depend_on_the_excerpt(front_end: FrontEnd) -> None:
    song = noise(1, 6 * RATE)
    start, edge = 40 * RATE // HOP // 10, WINDOW // 2 // HOP  # in frames: 4 s, in the quiet half
    excerpt = song[..., start * HOP : start * HOP + RATE]
    of_song, of_excerpt = (front_end.views(front_end(w), ["mfcc"])["mfcc"] for w in (song, excerpt))
    frames = of_excerpt.shape[-1]
    torch.testing.assert_close(
        of_excerpt[..., edge : frames - edge - 1],
        of_song[..., start + edge : start + frames - edge - 1],
        rtol=0,
        atol=1e-3,
    )


def test_bands_gives_the_number_of_bands_of_a_view(front_end: FrontEnd) -> None:
    views = front_end.views(front_end(noise(2, 2000)), VIEWS)
    assert {name: view.shape[2] for name, view in views.items()} == {
        name: front_end.bands(name) for name in VIEWS
    }


def test_views_of_silence_are_finite(front_end: FrontEnd) -> None:
    views = front_end.views(front_end(torch.zeros(1, 2, 2000)), VIEWS)
    assert all(view.isfinite().all() for view in views.values())


def test_state_dict_is_empty(front_end: FrontEnd) -> None:
    assert not front_end.state_dict()
    assert not list(front_end.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": 512, "hop": 100}, r"100 .* 512 .*choose one of \[.*128"),
        # With a hop of half a window, the inverse loses the last samples of some lengths.
        ({"window": 4096, "hop": 2048}, r"2048 .* 4096 .*choose one of \[.*1024\]"),
        ({"window": 512, "hop": 512}, r"512 .*choose one of \[.*128"),
        ({"window": 512, "hop": 0}, r"choose one of \[.*128"),
        ({"mel_bands": 32, "mfccs": 40}, "40 MFCCs need at least 40 mel bands, not 32"),
    ],
)
def test_contradictory_settings_are_refused(settings: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FrontEnd(**settings)


def test_unknown_view_is_refused_with_the_list_of_views(front_end: FrontEnd) -> None:
    with pytest.raises(InputError, match=r"'chroma'.*magnitude.*mel.*mfcc"):
        front_end.views(front_end(noise(1, 1000)), ["chroma"])


def test_autocast_does_not_reduce_precision(front_end: FrontEnd) -> None:
    waveform = noise(2, 2000)
    expected = front_end.views(front_end(waveform), VIEWS)
    with torch.autocast("cpu", torch.bfloat16):
        spectrum = front_end(waveform)
        views = front_end.views(spectrum, VIEWS)
        restored = front_end.inverse(spectrum, 2000)
    torch.testing.assert_close(restored, waveform, rtol=0, atol=1e-6)
    torch.testing.assert_close(views, expected)


def test_magnitude_is_the_absolute_value_and_has_a_gradient() -> None:
    spectrum = 100 * torch.randn(2, 5, 6, dtype=torch.complex64)
    spectrum[0, 0] = 0
    torch.testing.assert_close(magnitude(spectrum), spectrum.abs())
    spectrum.requires_grad_()
    magnitude(spectrum).sum().backward()
    assert spectrum.grad is not None
    assert spectrum.grad.isfinite().all()


def test_conjugated_spectra_have_magnitudes_and_products() -> None:
    spectrum = torch.randn(2, 1, 5, 6, dtype=torch.complex64)
    torch.testing.assert_close(magnitude(spectrum.conj()), spectrum.abs())
    mask = torch.rand(2, 3, 1, 5, 6)
    torch.testing.assert_close(masked(mask, spectrum.conj()), mask * spectrum.conj()[:, None])
