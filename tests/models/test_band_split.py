"""The band-split network: bands, rotary positions, and invariances of its mask."""

import itertools

import pytest
import torch
from torch import Tensor

from stemsplit.errors import InputError
from stemsplit.machine.bfloat16 import cpu_runs_lstm_in_bfloat16
from stemsplit.models.band_split import BandEncoder, BandSplit, band_groups
from stemsplit.models.blocks.sequences import attention, rotate, sequence_layer
from stemsplit.models.shapes import Views
from stemsplit.separation.front_end import FrontEnd

RATE = 8000
FRONT_END = FrontEnd(RATE, window=256, hop=64, mel_bands=16, mfccs=4)
FREQS = 129
KINDS = ["attention", "lstm"]
every_mode = pytest.mark.parametrize(
    ("over_time", "over_bands"), list(itertools.product(KINDS, KINDS))
)


def network(over_time: str = "attention", over_bands: str = "lstm", stems: int = 2) -> BandSplit:
    torch.manual_seed(0)
    return BandSplit(
        {"complex": 2 * FREQS},
        RATE,
        channels=2,
        stems=stems,
        features=16,
        depth=2,
        heads=2,
        mask_hidden=16,
        over_time=over_time,
        over_bands=over_bands,
    )


def noise(batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, 2, 2000, generator=generator)


def views(mixture: Tensor) -> Views:
    return FRONT_END.views(FRONT_END(mixture), BandSplit.views)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("window", [128, 512, 2048, 4096, 6000])
def test_bands_cover_all_frequencies_and_widen_with_frequency(rate: int, window: int) -> None:
    freqs = window // 2 + 1
    groups = band_groups(rate, freqs)
    assert sum(count * width for count, width in groups) == freqs
    assert all(count >= 1 and width >= 1 for count, width in groups)
    widths = [width for _, width in groups[:-1]]  # the last band holds the remainder
    assert widths == sorted(widths)


def test_bands_have_the_published_widths() -> None:
    groups = band_groups(44100, 2049)
    assert sum(count for count, _ in groups) == 41
    hertz = 44100 / 4096
    assert [count for count, _ in groups] == [10, 12, 8, 8, 2, 1]
    assert [round(width * hertz) for _, width in groups[:-1]] == pytest.approx(
        [100, 250, 500, 1000, 2000], abs=hertz
    )


def test_each_frequency_belongs_to_one_band() -> None:
    groups = band_groups(RATE, FREQS)
    encoder = BandEncoder(groups, parts=2, features=3)
    spectrum = torch.ones(1, FREQS, 2)
    before = encoder(spectrum)
    bands = []
    for freq in range(FREQS):
        changed = spectrum.clone()
        changed[0, freq, 0] = -2
        different = (encoder(changed) != before).any(dim=2)[:, 0]
        assert different.sum() == 1, freq
        bands.append(int(different.nonzero()))
    assert bands == [
        band
        for band, width in enumerate(width for count, width in groups for _ in range(count))
        for _ in range(width)
    ]


def test_product_of_rotated_features_depends_only_on_distance() -> None:
    query, key = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64).expand(-1, -1, -1, 50, -1)
    products = (rotate(query) @ rotate(key).transpose(2, 3))[0, 0]
    for distance in range(-49, 50):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=1e-5)
    assert products[0].std() > 0.01
    torch.testing.assert_close(rotate(query).norm(dim=3), query.norm(dim=3), rtol=1e-6, atol=0)


@every_mode
def test_mask_does_not_depend_on_loudness(over_time: str, over_bands: str) -> None:
    model = network(over_time, over_bands)
    mixture = noise()
    torch.testing.assert_close(
        model(views(3 * mixture)), model(views(mixture)), rtol=1e-4, atol=1e-5
    )


@every_mode
def test_items_of_a_batch_are_independent(over_time: str, over_bands: str) -> None:
    model = network(over_time, over_bands)
    mixture = noise(batch=3)
    batched = model(views(mixture))
    for item in range(3):
        alone = model(views(mixture[item : item + 1]))
        torch.testing.assert_close(alone, batched[item : item + 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("over_time", KINDS)
def test_mask_depends_on_distant_frames_and_bands(over_time: str) -> None:
    """One bin of the spectrum influences the masks of the last band and of the last frame."""
    model = network(over_time)
    spectrum = views(noise())["complex"].requires_grad_()
    mask = model({"complex": spectrum})
    for freq, frame in ((-1, 0), (0, -1)):
        (gradient,) = torch.autograd.grad(
            mask[..., freq, frame].abs().sum(), spectrum, retain_graph=True
        )
        assert gradient[:, :, 3, 0].any()


@every_mode
def test_initial_mask_is_close_to_one(over_time: str, over_bands: str) -> None:
    mask = network(over_time, over_bands)(views(noise()))
    assert (mask.mean() - 1).abs() < 0.1
    assert (mask - 1).abs().square().mean().sqrt() < 0.4


@every_mode
def test_bfloat16_agrees_with_float32(over_time: str, over_bands: str) -> None:
    if "lstm" in (over_time, over_bands) and not cpu_runs_lstm_in_bfloat16():
        pytest.skip("this processor has no LSTM in bfloat16")
    model, inputs = network(over_time, over_bands), views(noise())
    with torch.autocast("cpu", torch.bfloat16):
        mask = model(inputs)
    assert mask.dtype == torch.complex64
    assert (mask - model(inputs)).abs().max() < 0.05
    mask.abs().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_statistics_normalise_power_and_keep_phases() -> None:
    model = network()
    slope = torch.linspace(20, 1, FREQS)[:, None]
    spectrum = FRONT_END(noise()) * slope
    inputs = FRONT_END.views(spectrum, BandSplit.views)
    values = inputs["complex"]
    model.set_statistics(
        {"complex": (values.mean(dim=(0, 1, 3)), values.std(dim=(0, 1, 3), correction=0))}
    )
    encoded: list[Tensor] = []
    model.encoder.register_forward_pre_hook(lambda module, inputs: encoded.append(inputs[0]))
    model(inputs)
    parts = encoded[0].unflatten(2, (2, 2))  # token, freq, channel, real or imaginary
    torch.testing.assert_close(parts.square().mean(dim=(0, 2, 3)), torch.ones(FREQS))
    phase = torch.view_as_complex(parts.contiguous()).angle()
    expected = spectrum.permute(0, 3, 2, 1).flatten(0, 1).angle()
    torch.testing.assert_close(phase.cos(), expected.cos(), rtol=0, atol=1e-4)


def test_network_learns_to_rotate_phases() -> None:
    model = network(stems=1)
    inputs = views(noise())
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        error = (model(inputs) - 1j).abs().mean()
        error.backward()
        optimizer.step()
    assert error < 0.2


def test_unknown_layer_and_number_of_heads_are_refused() -> None:
    with pytest.raises(InputError, match="12 features cannot be divided into 4 heads"):
        sequence_layer("attention", 12, 4)
    with pytest.raises(InputError, match="'gru': choose attention or lstm"):
        sequence_layer("gru", 16, 4)


def test_attention_equals_torch_with_and_without_gradients() -> None:
    query, key, value = torch.randn(3, 2, 4, 30, 8).unbind()
    with torch.no_grad():
        expected = attention(query, key, value)
    with torch.enable_grad():
        torch.testing.assert_close(attention(query, key, value), expected)
