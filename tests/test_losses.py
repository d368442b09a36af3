"""The loss of a separator is the loss of open-unmix's training loop."""

import pytest
import torch
from torch.nn import functional

from stemsplit.checkpoint import build
from stemsplit.data.datamodule import make_batch
from stemsplit.losses import magnitude_mse


@pytest.mark.parametrize("targets", [["vocals"], ["vocals", "drums"]])
def test_magnitude_mse_is_open_unmixs(targets: list[str]) -> None:
    torch.manual_seed(0)
    separator = build(
        {"sample_rate": 8000, "window": 256, "hop": 64, "mel_bands": 16, "mfccs": 4},
        {"class": "stemsplit.models.blstm.Blstm", "hidden": 16, "layers": 1},
        targets,
        "residual",
        channels=2,
    )
    stems = 0.1 * torch.randn(3, len(targets), 2, 2000)
    mixture = stems.sum(dim=1) + 0.1 * torch.randn(3, 2, 2000)
    batch = make_batch(separator.front_end, ["magnitude"], mixture, stems, [(0, 0)] * 3)
    separator.eval()
    loss = magnitude_mse(separator.estimate(batch), batch)

    def magnitude(waveform: torch.Tensor) -> torch.Tensor:
        window = torch.hann_window(256)
        return torch.stft(
            waveform.flatten(0, -2), 256, 64, window=window, return_complex=True
        ).abs()

    # open-unmix multiplies its mask and the mixture's magnitude inside of the model.
    mask = separator.network(batch.views)
    output = mask * magnitude(mixture).reshape(3, 1, *mask.shape[2:])
    expected = functional.mse_loss(output, magnitude(stems).reshape_as(output))
    torch.testing.assert_close(loss, expected)
