"""Streaming gives the same stems as separating the whole mixture at once."""

import pytest
import torch
from torch import Tensor

from stemsplit.errors import InputError
from stemsplit.separation.checkpoint import build
from stemsplit.separation.separator import Separator
from stemsplit.separation.streaming import Stream

WINDOW, HOP = 256, 64


def separator(network: str = "lstm.Lstm", channels: int = 2, targets: int = 1) -> Separator:
    torch.manual_seed(0)
    model = build(
        {"sample_rate": 8000, "window": WINDOW, "hop": HOP, "mel_bands": 16, "mfccs": 4},
        {"class": f"stemsplit.models.{network}", "hidden": 16},
        [f"stem{number}" for number in range(targets)],
        "rest" if targets < 4 else None,
        channels=channels,
        wiener_iterations=0,
    )
    for parameter in model.parameters():  # so that masks differ between frames
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model.eval()


def streamed(separator: Separator, mixture: Tensor, sizes: list[int]) -> tuple[Tensor, list[int]]:
    """Feed blocks of these sizes in turn; return all stems, and the samples returned per block."""
    stream, parts, start, number = Stream(separator), [], 0, 0
    while start < mixture.shape[-1]:
        size = sizes[number % len(sizes)]
        parts.append(stream.feed(mixture[..., start : start + size]))
        start, number = start + size, number + 1
    lengths = [part.shape[-1] for part in parts]
    return torch.cat([*parts, stream.finish()], dim=-1), lengths


@pytest.mark.parametrize("time", [40, 130, 255, 256, 300, 1000, 5000, 5056])
@pytest.mark.parametrize("sizes", [[1], [64], [100, 7, 300], [5000]])
@pytest.mark.parametrize(("channels", "targets"), [(1, 1), (2, 4)])
def test_stream_equals_the_whole_mixture(
    time: int, sizes: list[int], channels: int, targets: int
) -> None:
    if sizes == [1] and time > 1000:
        pytest.skip("blocks of one sample take long, and shorter mixtures test the same")
    model = separator(channels=channels, targets=targets)
    mixture = 0.3 * torch.randn(2, channels, time)
    expected = model(mixture).detach()
    stems, _ = streamed(model, mixture, sizes)
    assert stems.shape == expected.shape
    assert expected.std(dim=-1).min() > 1e-3
    torch.testing.assert_close(stems, expected, rtol=0, atol=1e-5)


def test_latency_is_at_most_one_window() -> None:
    mixture = torch.randn(1, 2, 4000)
    _, lengths = streamed(separator(), mixture, [HOP])
    fed = torch.arange(1, len(lengths) + 1) * HOP
    assert (fed - torch.tensor(lengths).cumsum(0) <= WINDOW).all()


def test_stems_do_not_depend_on_later_samples() -> None:
    model = separator()
    mixture = torch.randn(1, 2, 4000)
    changed = mixture.clone()
    changed[..., 2000:] = 0
    ready = [Stream(model).feed(song[..., :2000]) for song in (mixture, changed)]
    assert torch.equal(*ready)
    assert ready[0].shape[-1] >= 2000 - WINDOW


def test_network_that_is_not_causal_is_refused() -> None:
    with pytest.raises(InputError, match="model=lstm"):
        Stream(separator("blstm.Blstm"))


def test_training_mode_is_refused() -> None:
    with pytest.raises(InputError, match="eval"):
        Stream(separator().train())


def test_finish_without_samples_is_refused() -> None:
    with pytest.raises(InputError, match="nothing was fed"):
        Stream(separator()).finish()


def test_stream_uses_the_device_of_the_separator() -> None:
    # A tensor made without a device would be on the default device, here meta, and raise an error.
    model, mixture = separator(), torch.randn(1, 2, 2000)
    with torch.device("meta"):
        stems, _ = streamed(model, mixture, [300])
    assert stems.device == mixture.device
    torch.testing.assert_close(stems, model(mixture).detach(), rtol=0, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_stream_on_cuda_accepts_blocks_on_any_device(device: str) -> None:
    model, mixture = separator(), torch.randn(1, 2, 2000)
    expected = model(mixture).detach()
    stems, _ = streamed(model.cuda(), mixture.to(device), [300])
    assert stems.is_cuda
    torch.testing.assert_close(stems.cpu(), expected, rtol=0, atol=1e-4)


def test_loud_sample_does_not_spoil_later_frames() -> None:
    model, mixture = separator(), torch.randn(1, 2, 4000)
    mixture[..., 500] = 1e30
    stems, _ = streamed(model, mixture, [100])
    assert stems.isfinite().all()
    assert stems[..., 1000:].abs().max() < 100


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_block_with_nan_or_infinity_is_refused(value: float) -> None:
    with pytest.raises(InputError, match="not finite"):
        Stream(separator()).feed(torch.full((1, 2, 100), value))
