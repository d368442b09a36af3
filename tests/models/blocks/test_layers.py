"""The product of a normalised view equals the usual layers, and so do its gradients."""

import copy

import pytest
import torch
from torch import nn

from stemsplit.models.blocks.layers import DenseMask, InputNorm, product_of_view

BANDS, CHANNELS = 7, 2


def input_layers() -> nn.ModuleDict:
    torch.manual_seed(0)
    norm = InputNorm(BANDS)
    norm.start_from(torch.rand(BANDS), torch.rand(BANDS) + 0.5)
    return nn.ModuleDict({"norm": norm, "linear": nn.Linear(BANDS * CHANNELS, 5)})


@pytest.mark.parametrize("needs_gradient", [False, True])
def test_product_of_view_has_the_usual_value_and_gradients(needs_gradient: bool) -> None:
    layers, usual = input_layers(), input_layers()
    view = torch.rand(3, CHANNELS, BANDS + 2, 4, requires_grad=needs_gradient)
    same_view = view.detach().clone().requires_grad_(needs_gradient)
    product = product_of_view(view, layers["norm"], layers["linear"])
    expected = usual["linear"](usual["norm"](same_view)).flatten(0, 1)
    assert torch.equal(product, expected)
    for output in (product, expected):
        output.tanh().square().sum().backward()
    for (name, weight), expected_weight in zip(
        layers.named_parameters(), usual.parameters(), strict=True
    ):
        torch.testing.assert_close(weight.grad, expected_weight.grad, msg=name)
    if needs_gradient:
        torch.testing.assert_close(view.grad, same_view.grad)


def test_scale_of_zero_keeps_gradients_finite() -> None:
    layers = input_layers()
    with torch.no_grad():
        layers["norm"].scale[0] = 0
    product_of_view(
        torch.rand(1, CHANNELS, BANDS, 4), layers["norm"], layers["linear"]
    ).sum().backward()
    assert all(weight.grad.isfinite().all() for weight in layers.parameters())


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_mask_of_view_equals_mask_of_frames(training: bool, batch_norm: bool) -> None:
    norm = input_layers()["norm"]
    dense = DenseMask(BANDS * CHANNELS, 5, 1, CHANNELS, BANDS, batch_norm, 0.0).train(training)
    same = copy.deepcopy(dense)
    view = torch.rand(3, CHANNELS, BANDS, 4)
    torch.testing.assert_close(dense.of_view(view, norm), same(norm(view)))
    for buffer, expected in zip(dense.buffers(), same.buffers(), strict=True):
        torch.testing.assert_close(buffer, expected)
