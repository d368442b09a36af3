"""Losses equal their formulas, are finite for silence, and can be mixture-consistent."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

from stemsplit.configuration import CONF, make, register_resolvers
from stemsplit.data.datamodule import make_batch
from stemsplit.errors import InputError
from stemsplit.models.shapes import Batch, Estimate
from stemsplit.separation.checkpoint import build
from stemsplit.separation.front_end import FrontEnd
from stemsplit.training.losses import (
    Loss,
    complex_l1,
    complex_rmse,
    l1,
    magnitude_mse,
    multi_resolution_stft,
    projected,
    si_sdr,
    with_residual,
)
from stemsplit.training.module import SeparationModule

NAMES = sorted(path.stem for path in (Path(CONF) / "loss").glob("*.yaml"))
FUNCTIONS = {
    name: make(OmegaConf.load(f"{CONF}/loss/{name}.yaml").function, _partial_=True)
    for name in NAMES
}
FUNCTIONS["multi_resolution_stft"] = partial(
    multi_resolution_stft, windows=[256, 64], hop=32, waveform_weight=2.0
)
FRONT_END = FrontEnd(sample_rate=8000, window=256, hop=64, mel_bands=16, mfccs=4)
every_function = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)


def noise(stems: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(3, stems, 2, 2000, generator=generator)


def batch_of(stems: Tensor, rest: Tensor | float = 0.0) -> Batch:
    return make_batch(FRONT_END, [], stems.sum(dim=1) + rest, stems, [(0, 0)] * len(stems))


def estimate_of(stems: Tensor) -> Estimate:
    return Estimate(lambda: FRONT_END(stems), lambda: stems)


@pytest.mark.parametrize("targets", [["vocals"], ["vocals", "drums"]])
def test_magnitude_mse_equals_open_unmix(targets: list[str]) -> None:
    torch.manual_seed(0)
    separator = build(
        {"sample_rate": 8000, "window": 256, "hop": 64, "mel_bands": 16, "mfccs": 4},
        {"class": "stemsplit.models.blstm.Blstm", "hidden": 16, "layers": 1},
        targets,
        "residual",
        channels=2,
    )
    stems = noise(len(targets), seed=0)
    mixture = stems.sum(dim=1) + noise(1, seed=1)[:, 0]
    batch = make_batch(separator.front_end, ["magnitude"], mixture, stems, [(0, 0)] * 3)
    separator.eval()
    loss = magnitude_mse(separator.estimate(batch), batch)

    def magnitude(waveform: torch.Tensor) -> torch.Tensor:
        window = torch.hann_window(256)
        return torch.stft(
            waveform.flatten(0, -2), 256, 64, window=window, return_complex=True
        ).abs()

    # open-unmix multiplies the mask with the magnitude of the mixture inside the model.
    mask = separator.network(batch.views)
    output = mask * magnitude(mixture).reshape(3, 1, *mask.shape[2:])
    expected = functional.mse_loss(output, magnitude(stems).reshape_as(output))
    torch.testing.assert_close(loss, expected)


def test_l1_equals_formula() -> None:
    estimates, stems = noise(2, seed=0), noise(2, seed=1)
    expected = np.abs(estimates.numpy() - stems.numpy()).mean()
    assert l1(estimate_of(estimates), batch_of(stems)) == pytest.approx(expected, rel=1e-5)


def error_spectrum(estimates: Tensor, stems: Tensor, window: int, hop: int, pad: str) -> np.ndarray:
    """The difference of spectra computed by librosa."""
    spectra = [
        librosa.stft(signal.double().numpy(), n_fft=window, hop_length=hop, pad_mode=pad)
        for signal in (estimates, stems)
    ]
    return spectra[0] - spectra[1]


def test_complex_l1_equals_formula() -> None:
    estimates, stems = noise(2, seed=0), noise(2, seed=1)
    error = error_spectrum(estimates, stems, 256, 64, pad="reflect")
    expected = (np.abs(error.real).mean() + np.abs(error.imag).mean()) / 2
    assert complex_l1(estimate_of(estimates), batch_of(stems)) == pytest.approx(expected, rel=1e-5)


def test_multi_resolution_stft_equals_formula() -> None:
    estimates, stems = noise(2, seed=0), noise(2, seed=1)
    expected = 2 * float((estimates - stems).abs().mean()) + sum(
        np.abs(error_spectrum(estimates, stems, window, 32, pad="constant")).mean()
        for window in (256, 64)
    )
    loss = FUNCTIONS["multi_resolution_stft"](estimate_of(estimates), batch_of(stems))
    assert loss == pytest.approx(expected, rel=1e-5)


def test_complex_rmse_equals_formula() -> None:
    estimates, stems = noise(2, seed=0), noise(2, seed=1)
    error = librosa.stft(
        (estimates - stems).double().numpy(),
        n_fft=256, hop_length=64, window="boxcar", pad_mode="constant",
    ) / 16  # fmt: skip
    power = np.mean([error.real**2, error.imag**2], axis=(0, 3, 4, 5))
    loss = complex_rmse(estimate_of(estimates), batch_of(stems), window=256, hop=64)
    assert loss.item() == pytest.approx(np.sqrt(power).mean(), rel=1e-5)
    with pytest.raises(InputError, match="hop 300 does not fit window 256"):
        complex_rmse(estimate_of(estimates), batch_of(stems), window=256, hop=300)


def test_multi_resolution_stft_accepts_excerpts_shorter_than_window() -> None:
    stems = noise(1, seed=0)[..., :100]
    loss = multi_resolution_stft(estimate_of(0 * stems), batch_of(stems), [512], 128, 0.0)
    assert loss > 0


@pytest.mark.parametrize(("windows", "hop"), [([], 1), ([256, 64], 65), ([256], 0)])
def test_hop_longer_than_window_is_rejected(windows: list[int], hop: int) -> None:
    stems = noise(1, seed=0)
    with pytest.raises(InputError, match=f"hop {hop}" if windows else "windows is empty"):
        multi_resolution_stft(estimate_of(stems), batch_of(stems), windows, hop, 1.0)


@pytest.mark.parametrize("decibels", [-20, 0, 15, 40])
def test_si_sdr_equals_level_of_orthogonal_noise(decibels: float) -> None:
    time = torch.arange(2000) / 2000 * 2 * torch.pi
    signal, distortion = torch.sin(5 * time), torch.sin(8 * time)  # of equal energy
    stems = signal.expand(3, 1, 2, -1)
    estimates = 0.3 * (stems + 10 ** (-decibels / 20) * distortion)
    loss = si_sdr(estimate_of(estimates), batch_of(stems))
    # The bound at 80 dB changes the values slightly.
    assert float(loss) == pytest.approx(-decibels, abs=0.01)


def test_si_sdr_equals_torchmetrics() -> None:
    stems = noise(2, seed=0)
    estimates = 2 * stems + noise(2, seed=1)
    expected = -scale_invariant_signal_distortion_ratio(estimates.flatten(2), stems.flatten(2))
    loss = si_sdr(estimate_of(estimates), batch_of(stems))
    torch.testing.assert_close(loss, expected.mean(), rtol=0, atol=1e-4)


@every_function
@pytest.mark.parametrize("scale", [0.1, 10.0])
def test_only_si_sdr_is_scale_invariant(function: Callable[..., Tensor], scale: float) -> None:
    stems = noise(2, seed=0)
    estimates = stems + 0.3 * noise(2, seed=1)
    losses = [function(estimate_of(e), batch_of(stems)) for e in (estimates, scale * estimates)]
    if function is FUNCTIONS["si_sdr"]:
        torch.testing.assert_close(*losses, rtol=0, atol=1e-3)
    else:
        assert losses[1] > losses[0]


def test_si_sdr_skips_silent_stems() -> None:
    stems = noise(2, seed=0)
    estimates = stems + 0.3 * noise(2, seed=1)
    alone = si_sdr(estimate_of(estimates[1:, :1]), batch_of(stems[1:, :1]))
    stems[:, 1] = 0
    stems[0] = 0
    torch.testing.assert_close(si_sdr(estimate_of(estimates), batch_of(stems)), alone)


@pytest.mark.parametrize(
    "kind", ["orthogonal", "silent estimate", "silent reference", "both silent"]
)
def test_si_sdr_has_finite_gradients_at_its_limits(kind: str) -> None:
    stems, estimates = torch.zeros(2, 1, 1, 2, 64)
    if "reference" not in kind and "both" not in kind:
        stems[..., :32] = 0.1
    if "estimate" not in kind and "both" not in kind:
        estimates[..., 32:] = 0.1
    estimates.requires_grad_()
    loss = si_sdr(estimate_of(estimates), batch_of(stems))
    [gradient] = torch.autograd.grad(loss, estimates)
    assert loss.item() == (0 if stems.sum() == 0 else pytest.approx(80))
    assert gradient.isfinite().all()


def test_si_sdr_is_worst_for_silent_estimate() -> None:
    stems = noise(1, seed=0)
    silent, wrong = (
        si_sdr(estimate_of(estimates), batch_of(stems)) for estimates in (0 * stems, noise(1, 1))
    )
    assert silent > wrong + 20


@every_function
def test_loss_is_lowest_for_perfect_estimate(function: Callable[..., Tensor]) -> None:
    stems = noise(2, seed=0)
    perfect, near = (
        function(estimate_of(estimates), batch_of(stems))
        for estimates in (stems, stems + 1e-3 * noise(2, seed=1))
    )
    assert perfect < near


@pytest.mark.parametrize(
    ("name", "best"),
    [
        *((name, 0.0) for name in ("complex_l1", "l1", "magnitude_mse", "multi_resolution_stft")),
        ("complex_rmse", 1e-8),
        ("si_sdr", -80.0),
    ],
)
def test_loss_of_a_perfect_estimate(name: str, best: float) -> None:
    stems = noise(2, seed=0)
    perfect = float(FUNCTIONS[name](estimate_of(stems), batch_of(stems)))
    assert perfect == pytest.approx(best, abs=0.1 if best else 1e-9)


@every_function
@pytest.mark.parametrize("residual", [None, "rest"])
@pytest.mark.parametrize("mixture_consistent", [True, False])
@pytest.mark.parametrize("silent", ["estimate", "references", "a reference", "all", "difference"])
def test_value_and_gradient_are_finite(
    function: Callable[..., Tensor], mixture_consistent: bool, residual: str | None, silent: str
) -> None:
    estimates, stems = noise(2, seed=0), noise(2, seed=1)
    if silent in ("estimate", "all"):
        estimates = 0 * estimates
    if silent in ("references", "all"):
        stems = 0 * stems
    if silent == "a reference":
        stems[1, 0] = 0
    if silent == "difference":
        estimates = stems.clone()
    estimates.requires_grad_()
    loss = Loss(function, mixture_consistent, residual)(estimate_of(estimates), batch_of(stems))
    assert loss.isfinite()
    loss.backward()
    assert estimates.grad is not None
    assert estimates.grad.isfinite().all()


def total(parts: Tensor) -> Tensor:
    return parts.sum(dim=1)


def test_projection_is_orthogonal_and_sums_to_mixture() -> None:
    estimates, stems = noise(4, seed=0), noise(4, seed=1)
    batch = batch_of(stems)
    result = projected(estimate_of(estimates), batch)
    torch.testing.assert_close(total(result.waveforms), batch.mixture)
    torch.testing.assert_close(total(result.spectra), batch.spectrum, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(result.magnitudes, FRONT_END(result.waveforms).abs())
    # An orthogonal projection adds the same signal to each stem, and reduces the distance to all
    # stems with the same sum.
    change = result.waveforms - estimates
    torch.testing.assert_close(change, change[:, :1].expand_as(change))
    assert (result.waveforms - stems).square().sum() < (estimates - stems).square().sum()


def test_targets_and_residual_sum_to_mixture() -> None:
    estimates, stems, rest = noise(2, seed=0), noise(2, seed=1), noise(1, seed=2)[:, 0]
    batch = batch_of(stems, rest)
    extended, references = with_residual(estimate_of(estimates), batch)
    for waveforms, spectra in [
        (extended.waveforms, extended.spectra),
        (references.stems, references.stem_spectra),
    ]:
        assert waveforms.shape[1] == spectra.shape[1] == 3
        torch.testing.assert_close(total(waveforms), batch.mixture)
        torch.testing.assert_close(total(spectra), batch.spectrum, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(references.stems[:, 2], rest)
    torch.testing.assert_close(extended.waveforms[:, :2], estimates)
    torch.testing.assert_close(extended.magnitudes, FRONT_END(extended.waveforms).abs())


@every_function
def test_mixture_consistent_loss_includes_residual(function: Callable[..., Tensor]) -> None:
    estimates, stems, rest = noise(2, seed=0), noise(2, seed=1), noise(1, seed=2)
    batch = batch_of(stems, rest[:, 0])
    consistent = Loss(function, mixture_consistent=True, residual="rest")
    estimated_rest = batch.mixture - total(estimates)
    expected = function(
        estimate_of(torch.cat([estimates, estimated_rest[:, None]], dim=1)),
        batch_of(torch.cat([stems, rest], dim=1)),
    )
    torch.testing.assert_close(consistent(estimate_of(estimates), batch), expected)
    plain = Loss(function)(estimate_of(estimates), batch)
    torch.testing.assert_close(plain, function(estimate_of(estimates), batch))
    assert not torch.isclose(plain, expected)


def configured(name: str, *overrides: str) -> SeparationModule:
    register_resolvers()
    with initialize_config_dir(config_dir=CONF):
        config = compose(
            "train",
            [
                f"loss={name}",
                "model=mlp",
                "model.separator.network.hidden=16",
                "sample_rate=8000",
                "window=256",
                "hop=64",
                "bandwidth_hertz=4000",
                "model.separator.front_end.mel_bands=16",
                "model.separator.front_end.mfccs=4",
                *overrides,
            ],
        )
    torch.manual_seed(0)
    return make(config.model)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("targets", [["vocals"], ["drums", "bass", "other", "vocals"]])
@pytest.mark.parametrize("mixture_consistent", [True, False])
def test_optimiser_steps_decrease_every_loss(
    name: str, targets: list[str], mixture_consistent: bool
) -> None:
    module = configured(
        name, f"targets=[{','.join(targets)}]", f"loss.mixture_consistent={mixture_consistent}"
    )
    assert module.loss.mixture_consistent is mixture_consistent
    assert (module.loss.residual is None) == (len(targets) == 4)
    separator = module.separator
    # Each stem has its own frequency, so that a mask can separate them.
    time = torch.arange(2000) / 8000
    hertz = torch.tensor([200.0, 700.0, 1500.0, 3000.0])[:, None, None]
    phase = torch.tensor([0.0, 1.0, 2.0])[:, None, None, None] + torch.zeros(1, 1, 2, 1)
    stems = 0.1 * torch.sin(2 * torch.pi * hertz * time + phase)
    batch = make_batch(
        separator.front_end,
        separator.network.views,
        total(stems),
        stems[:, 4 - len(targets) :],
        [(0, 0)] * 3,
    )
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    losses = []
    for _ in range(5):
        loss = module.loss(separator.estimate(batch), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
