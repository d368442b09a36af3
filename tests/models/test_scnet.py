"""SCNet: equal to the authors' network, for any number of frames and any loudness."""

import pytest
import torch
from published_scnet import HOP, NUMBERS, RATE, STEP, TIME, WINDOW, mixture, weights

from stemsplit.errors import InputError
from stemsplit.machine.bfloat16 import cpu_runs_lstm_in_bfloat16
from stemsplit.models.scnet import SCNet, bands_of
from stemsplit.separation.formats.scnet import renamed
from stemsplit.separation.front_end import FrontEnd

FRONT_END = FrontEnd(RATE, WINDOW, HOP, mel_bands=16, mfccs=4, window_shape="rectangular")


def network(mono_level: bool = False, channels: int = 2, stems: int = 4) -> SCNet:
    bands = {"complex": FRONT_END.bands("complex")}
    torch.manual_seed(0)
    return SCNet(
        bands, RATE, channels, stems, features=8, depth=2, pairs=1, mono_level=mono_level
    ).eval()


def published(mono_level: bool = False) -> SCNet:
    model = network(mono_level)
    model.load_state_dict({renamed(name): value for name, value in weights().items()})
    return model


def stems_of(model: SCNet, waveform: torch.Tensor) -> torch.Tensor:
    spectra = model(FRONT_END.views(FRONT_END(waveform), model.views))
    return FRONT_END.inverse(spectra, waveform.shape[-1])


def test_stems_and_gradients_equal_the_authors_network() -> None:
    model = published()
    stems = stems_of(model, mixture())[..., :TIME]
    torch.testing.assert_close(
        stems[0, ..., ::STEP], torch.tensor(NUMBERS["stems"]), rtol=0, atol=1e-6
    )
    stems.square().mean().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name, norm in NUMBERS["gradients"].items():
        assert gradients[renamed(name)].norm().item() == pytest.approx(norm, rel=1e-3), name


def test_level_of_the_mean_is_that_of_the_published_weights() -> None:
    """The level comes from the spectrum, so it differs a little at the edges of the mixture."""
    expected = torch.tensor(NUMBERS["mono_level"])
    stems = stems_of(published(mono_level=True), mixture())[0, :, :, :TIME:STEP]
    torch.testing.assert_close(stems, expected, rtol=0, atol=0.03 * expected.abs().max().item())


@pytest.mark.parametrize("channels", [1, 2])
def test_level_of_a_long_mixture_is_its_deviation(channels: int) -> None:
    model = network(True, channels)
    noise = 0.1 * torch.randn(2, channels, 40_000, generator=torch.Generator().manual_seed(0))
    noise[1] *= 0.01
    complex_view = FRONT_END.views(FRONT_END(noise), ("complex",))["complex"]
    level = model.level(complex_view.unflatten(2, (2, -1)) * WINDOW**-0.5)
    torch.testing.assert_close(level.flatten(), noise.mean(dim=1).std(dim=1), rtol=0.01, atol=0)


@pytest.mark.parametrize("mono_level", [True, False])
def test_channels_of_opposite_sign_have_finite_stems(mono_level: bool) -> None:
    waveform = mixture()[:, :1] * torch.tensor([[1.0], [-1.0]])
    assert stems_of(published(mono_level), waveform).abs().max() < 10


@pytest.mark.parametrize("mono_level", [True, False])
def test_stems_scale_with_the_mixture(mono_level: bool) -> None:
    model, waveform = network(mono_level), mixture()
    torch.testing.assert_close(
        stems_of(model, 0.03 * waveform), 0.03 * stems_of(model, waveform), rtol=0.02, atol=1e-4
    )


@pytest.mark.parametrize("frames", [1, 2, 7, 8])
def test_any_number_of_frames_is_possible(frames: int) -> None:
    model = network()
    view = torch.randn(1, 2, 2 * (WINDOW // 2 + 1), frames)
    assert model({"complex": view}).shape == (1, 4, 2, WINDOW // 2 + 1, frames)


@pytest.mark.skipif(
    not cpu_runs_lstm_in_bfloat16(), reason="this processor has no LSTM in bfloat16"
)
def test_bfloat16_agrees_with_float32() -> None:
    model, waveform = network(), mixture()
    with torch.autocast("cpu", torch.bfloat16):
        estimate = stems_of(model, waveform)
    exact = stems_of(model, waveform)
    assert (estimate - exact).square().mean() < 1e-3 * exact.square().mean()


def test_default_has_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        model = SCNet({"complex": 2 * 2049}, 44100, channels=2, stems=4)
    assert sum(parameter.numel() for parameter in model.parameters()) == 10_578_768


def test_bands_cover_all_frequencies() -> None:
    for freqs in (2049, 616, 186, 57, 9):
        bands = bands_of(freqs, 0.175, 0.392)
        assert sum(band.freqs for band in bands) == freqs
        assert all(band.surplus >= 0 for band in bands)
    with pytest.raises(InputError, match="cannot be divided into three bands"):
        bands_of(2, 0.175, 0.392)
    with pytest.raises(InputError, match="cannot be divided into three bands"):
        bands_of(2049, 0.6, 0.4)
