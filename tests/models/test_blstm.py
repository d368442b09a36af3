"""`Blstm`: equal to open-unmix with one view; separate encoders and BLSTMs with two views."""

import pytest
import torch
from openunmix.model import OpenUnmix
from openunmix.utils import bandwidth_to_max_bin
from torch import Tensor, nn

from stemsplit.errors import InputError
from stemsplit.models.blocks.layers import bands_below
from stemsplit.models.blstm import Blstm
from stemsplit.separation.formats.open_unmix import converted

RATE, WINDOW, HERTZ, HIDDEN, LAYERS = 8000, 256, 2500.0, 16, 3
FREQS = WINDOW // 2 + 1
CLOSE = {"rtol": 0, "atol": 5e-3}


def pair(channels: int) -> tuple[OpenUnmix, Blstm]:
    """Return open-unmix with random weights and statistics, and the equal `Blstm`."""
    torch.manual_seed(channels)
    theirs = OpenUnmix(
        nb_bins=FREQS,
        nb_channels=channels,
        hidden_size=HIDDEN,
        nb_layers=LAYERS,
        input_mean=torch.rand(FREQS).numpy(),
        input_scale=(0.5 + torch.rand(FREQS)).numpy(),
        max_bin=int(bandwidth_to_max_bin(RATE, WINDOW, HERTZ)),
    )
    for name, value in theirs.state_dict().items():
        if name.startswith(("bn", "output")) and value.is_floating_point():
            value.uniform_(0.5, 1.5)
    ours = Blstm(
        {"magnitude": FREQS, "mel": 20},
        RATE,
        channels,
        stems=1,
        bandwidth_hertz=HERTZ,
        hidden=HIDDEN,
        layers=LAYERS,
    )
    ours.load_state_dict(converted(theirs.state_dict()))
    return theirs, ours


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("training", [False, True])
def test_magnitude_model_equals_open_unmix(channels: int, training: bool) -> None:
    theirs, ours = (model.train(training) for model in pair(channels))
    theirs.lstm.dropout = ours.branches["magnitude"].lstm.dropout = 0.0
    magnitude = 3 * torch.rand(2, channels, FREQS, 11)
    mask = ours({"magnitude": magnitude})
    assert mask.shape == (2, 1, channels, FREQS, 11)
    torch.testing.assert_close(mask[:, 0] * magnitude, theirs(magnitude), rtol=1e-5, atol=1e-5)
    # Training mode updates the running statistics, equally in both models.
    torch.testing.assert_close(ours.decoder[4].running_var, theirs.bn3.running_var)


@pytest.mark.parametrize("channels", [1, 2])
def test_number_of_parameters_equals_open_unmix(channels: int) -> None:
    theirs, ours = (sum(p.numel() for p in model.parameters()) for model in pair(channels))
    assert ours == theirs


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("window", [512, 2048, 4096, 8192])
def test_bands_below_equals_open_unmix(rate: int, window: int) -> None:
    for hertz in [100, 1000, 4000, 8000, 12000, 15999.9, 16000, 20000, rate / 4, rate / 2, rate]:
        expected = bandwidth_to_max_bin(rate, window, hertz)
        assert bands_below(hertz, rate, window // 2 + 1) == expected, hertz


@pytest.mark.parametrize("hertz", [0.0, -1.0])
def test_bandwidth_must_be_positive(hertz: float) -> None:
    with pytest.raises(InputError, match="must be above 0"):
        bands_below(hertz, 44100, 2049)


def test_odd_hidden_size_is_refused() -> None:
    with pytest.raises(InputError, match="hidden 15"):
        Blstm({"magnitude": FREQS}, RATE, channels=1, stems=1, hidden=15)


def two_branches() -> tuple[Blstm, dict[str, Tensor]]:
    torch.manual_seed(0)
    model = Blstm(
        {"magnitude": FREQS, "mel": 20},
        RATE,
        channels=2,
        stems=2,
        views=["magnitude", "mel"],
        bandwidth_hertz=HERTZ,
        hidden=HIDDEN,
        layers=2,
    )
    views = {
        "magnitude": 5 + 3 * torch.rand(4, 2, FREQS, 30),
        "mel": 0.1 + 0.01 * torch.rand(4, 2, 20, 30),
    }
    return model, views


def test_statistics_normalise_inputs() -> None:
    model, views = two_branches()
    model.set_statistics(
        {
            view: (bands.mean(dim=(0, 1, 3)), bands.std(dim=(0, 1, 3), correction=0))
            for view, bands in views.items()
        }
    )
    encoded: dict[str, Tensor] = {}
    for view, branch in model.branches.items():
        branch.encoder.register_forward_pre_hook(
            lambda module, inputs, view=view: encoded.update({view: inputs[0]})
        )
    model(views)
    assert encoded.keys() == views.keys()
    for frames in encoded.values():
        bands = frames.unflatten(1, (2, -1)).detach()  # (frame × batch, channel, band)
        torch.testing.assert_close(bands.mean(dim=(0, 1)), torch.zeros(bands.shape[2]), **CLOSE)
        torch.testing.assert_close(bands.std(dim=(0, 1)), torch.ones(bands.shape[2]), **CLOSE)


def test_features_of_separate_branches_are_added() -> None:
    model, views = two_branches()
    linear, mel = model.branches["magnitude"], model.branches["mel"]
    assert isinstance(linear.lstm, nn.LSTM)
    assert isinstance(mel.lstm, nn.LSTM)
    assert not set(linear.parameters()) & set(mel.parameters())

    decoded: list[Tensor] = []
    model.decoder[0].register_forward_pre_hook(lambda module, inputs: decoded.append(inputs[0]))
    # In evaluation mode, the layers of the decoder are not called one by one.
    linear.lstm.dropout = mel.lstm.dropout = 0.0
    model(views)
    features = linear(views["magnitude"]) + mel(views["mel"])
    torch.testing.assert_close(decoded[0], features.flatten(0, 1))


def test_mask_covers_frequencies_above_the_bandwidth() -> None:
    model, views = two_branches()
    model.eval()
    mask = model(views)
    assert mask.shape == (4, 2, 2, FREQS, 30)
    views["magnitude"][:, :, bands_below(HERTZ, RATE, FREQS) :] = 0
    torch.testing.assert_close(model(views), mask, rtol=0, atol=0)
