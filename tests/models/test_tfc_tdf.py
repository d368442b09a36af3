"""Tests of the TFC-TDF U-Net."""

import pytest
import torch

from stemsplit.models.tfc_tdf import TFCTDFUNet


def network(freqs: int, sub_bands: int = 4) -> TFCTDFUNet:
    torch.manual_seed(0)
    bands = {"complex": 2 * freqs}
    return TFCTDFUNet(bands, 8000, channels=2, stems=3, features=4, depth=2, sub_bands=sub_bands)


@pytest.mark.parametrize("freqs", [16, 33, 65])
@pytest.mark.parametrize("frame", [1, 4, 7])
def test_any_number_of_frequencies_and_frames(freqs: int, frame: int) -> None:
    mask = network(freqs)({"complex": torch.randn(2, 2, 2 * freqs, frame)})
    assert mask.shape == (2, 3, 2, freqs, frame)


def test_mixture_passes_without_the_weights_of_the_output() -> None:
    unet = network(33)
    torch.nn.init.zeros_(unet.output[2].weight)
    mask = unet({"complex": torch.randn(1, 2, 66, 5)})
    assert torch.equal(mask, torch.ones_like(mask))


def test_sub_bands_keep_their_frequencies() -> None:
    """A bias of the output moves the mask in the frequencies of its sub-band only."""
    unet = network(32)
    torch.nn.init.zeros_(unet.output[2].weight)
    with torch.no_grad():  # sub-band 1, stem 2, channel 1, imaginary part
        unet.output[2].bias.view(4, 3, 2, 2)[1, 2, 1, 1] = 0.5
    mask = unet({"complex": torch.randn(1, 2, 64, 4)})[0]
    changed = (mask != 1).nonzero()
    assert changed[:, :2].unique(dim=0).tolist() == [[2, 1]]
    assert changed[:, 2].unique().tolist() == list(range(8, 16))
    assert (mask[2, 1, 8:16] == 1 + 0.5j).all()


def test_statistics_scale_the_frequencies() -> None:
    """With statistics of mean 0 and scale 2, a spectrum twice as large has the same mask."""
    spectrum = torch.randn(1, 2, 66, 8)
    unet = network(33)
    expected = unet({"complex": spectrum})
    # The power of the real and the imaginary part together is then one.
    unet.set_statistics({"complex": (torch.zeros(66), torch.full((66,), 2.0))})
    torch.testing.assert_close(unet({"complex": 2 * spectrum}), expected)
