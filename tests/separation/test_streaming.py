"""A causal separator hears a mixture block by block and gives what it gives of the whole."""

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
    made = build(
        {"sample_rate": 8000, "window": WINDOW, "hop": HOP, "mel_bands": 16, "mfccs": 4},
        {"class": f"stemsplit.models.{network}", "hidden": 16},
        [f"stem{number}" for number in range(targets)],
        "rest" if targets < 4 else None,
        channels=channels,
        wiener_iterations=0,
    )
    for parameter in made.parameters():  # masks that differ from frame to frame
        parameter.data += 0.3 * torch.randn_like(parameter)
    return made.eval()


def streamed(separator: Separator, mixture: Tensor, sizes: list[int]) -> tuple[Tensor, list[int]]:
    """All stems, fed in blocks of these sizes in turn, and how much came out of each block."""
    stream, parts, start, turn = Stream(separator), [], 0, 0
    while start < mixture.shape[-1]:
        size = sizes[turn % len(sizes)]
        parts.append(stream.feed(mixture[..., start : start + size]))
        start, turn = start + size, turn + 1
    lengths = [part.shape[-1] for part in parts]
    return torch.cat([*parts, stream.finish()], dim=-1), lengths


@pytest.mark.parametrize("time", [40, 130, 255, 256, 300, 1000, 5000, 5056])
@pytest.mark.parametrize("sizes", [[1], [64], [100, 7, 300], [5000]])
@pytest.mark.parametrize(("channels", "targets"), [(1, 1), (2, 4)])
def test_a_stream_is_the_whole(time: int, sizes: list[int], channels: int, targets: int) -> None:
    if sizes == [1] and time > 1000:
        pytest.skip("sample by sample, short ones tell as much")
    model = separator(channels=channels, targets=targets)
    mixture = 0.3 * torch.randn(2, channels, time)
    expected = model(mixture).detach()
    found, _ = streamed(model, mixture, sizes)
    assert found.shape == expected.shape
    assert expected.std(dim=-1).min() > 1e-3
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_sample_comes_out_a_window_later_at_most() -> None:
    mixture = torch.randn(1, 2, 4000)
    _, lengths = streamed(separator(), mixture, [HOP])
    fed = torch.arange(1, len(lengths) + 1) * HOP
    assert (fed - torch.tensor(lengths).cumsum(0) <= WINDOW).all()


def test_what_comes_later_changes_nothing() -> None:
    model = separator()
    mixture = torch.randn(1, 2, 4000)
    other = mixture.clone()
    other[..., 2000:] = 0
    ready = [Stream(model).feed(whole[..., :2000]) for whole in (mixture, other)]
    assert torch.equal(*ready)
    assert ready[0].shape[-1] >= 2000 - WINDOW


def test_a_network_that_needs_the_future_is_refused() -> None:
    with pytest.raises(InputError, match="model=lstm"):
        Stream(separator("blstm.Blstm"))


def test_training_mode_is_refused() -> None:
    with pytest.raises(InputError, match="eval"):
        Stream(separator().train())


def test_nothing_in_nothing_out_is_refused() -> None:
    with pytest.raises(InputError, match="nothing was fed"):
        Stream(separator()).finish()


def test_buffers_of_a_stream_are_on_the_separators_device() -> None:
    # A tensor that is made without a device lands on the default one, here meta, and does not mix.
    model, mixture = separator(), torch.randn(1, 2, 2000)
    with torch.device("meta"):
        found, _ = streamed(model, mixture, [300])
    assert found.device == mixture.device
    torch.testing.assert_close(found, model(mixture).detach(), rtol=0, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_stream_on_cuda_takes_blocks_of_any_device(device: str) -> None:
    model, mixture = separator(), torch.randn(1, 2, 2000)
    expected = model(mixture).detach()
    found, _ = streamed(model.cuda(), mixture.to(device), [300])
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-4)


def test_loud_sample_does_not_spoil_what_follows() -> None:
    model, mixture = separator(), torch.randn(1, 2, 4000)
    mixture[..., 500] = 1e30
    found, _ = streamed(model, mixture, [100])
    assert found.isfinite().all()
    assert found[..., 1000:].abs().max() < 100


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_block_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(InputError, match="not finite"):
        Stream(separator()).feed(torch.full((1, 2, 100), value))
