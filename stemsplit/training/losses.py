"""Loss functions of an estimate and its batch.

All losses are means over stems and excerpts, computed in float32 (the caller disables autocast).
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Inexact
from torch import Tensor
from torch.nn import functional

from stemsplit.errors import InputError
from stemsplit.models.shapes import Batch, Estimate
from stemsplit.separation.spectra import magnitude

SILENT = 1e-8  # mean square below which a stem is silent: -80 dB of full scale
# Keeps gradients finite: limits the SI-SDR to 80 dB for a perfect and to -80 dB for a silent
# estimate, and keeps the root of `complex_rmse` away from 0.
BOUND = 1e-8

Value = Float[Tensor, ""]
# `axes` is (time) for waveforms, and (freq, frame) for spectra.
StemSignals = Inexact[Tensor, "batch stem channel *axes"]
MixtureSignal = Inexact[Tensor, "batch channel *axes"]


class Loss:
    """A loss of the targets or, if `mixture_consistent`, of stems that sum to the mixture.

    `residual` is the name of the stem that remains when all targets are subtracted from the
    mixture. It is None if all stems of the songs are targets. A mixture-consistent loss includes
    the residual as another stem. The estimate of this stem is the mixture minus the estimated
    targets. Without a residual, the estimates are projected onto the mixture.

    If there is a single target, the errors of target and residual have the same magnitude, so
    `mixture_consistent` does not change the losses `l1`, `complex_l1`, `complex_rmse` and
    `multi_resolution_stft`.
    """

    def __init__(
        self,
        function: Callable[[Estimate, Batch], Value],
        mixture_consistent: bool = False,
        residual: str | None = None,
    ) -> None:
        self.function = function
        self.mixture_consistent = mixture_consistent
        self.residual = residual

    def __call__(self, estimate: Estimate, batch: Batch) -> Value:
        if self.mixture_consistent and self.residual is None:
            estimate = projected(estimate, batch)
        elif self.mixture_consistent:
            estimate, batch = with_residual(estimate, batch)
        return self.function(estimate, batch)


def with_residual(estimate: Estimate, batch: Batch) -> tuple[Estimate, Batch]:
    """Append the residual, the mixture minus all targets, to the stems of estimate and batch."""

    def complete(
        targets: StemSignals, mixture: MixtureSignal
    ) -> Inexact[Tensor, "batch all channel *axes"]:
        return torch.cat([targets, (mixture - targets.sum(dim=1))[:, None]], dim=1)

    estimates = Estimate(
        lambda: complete(estimate.spectra, batch.spectrum),
        lambda: complete(estimate.waveforms, batch.mixture),
    )
    references = Batch(
        batch.mixture,
        complete(batch.stems, batch.mixture),
        batch.spectrum,
        batch.views,
        batch.keys,
        lambda: complete(batch.stem_spectra, batch.spectrum),
    )
    return estimates, references


def projected(estimate: Estimate, batch: Batch) -> Estimate:
    """Project the stems onto the mixture: add an equal share of the difference to each stem.

    Source: Wisdom et al., "Differentiable consistency constraints for improved deep speech
    enhancement", ICASSP 2019.
    """

    def project(stems: StemSignals, mixture: MixtureSignal) -> StemSignals:
        return stems + (mixture - stems.sum(dim=1))[:, None] / stems.shape[1]

    return Estimate(
        lambda: project(estimate.spectra, batch.spectrum),
        lambda: project(estimate.waveforms, batch.mixture),
    )


def magnitude_mse(estimate: Estimate, batch: Batch) -> Value:
    """Mean squared error of magnitude spectra, as in the training of open-unmix.

    As in open-unmix, the Fourier transform uses a window but is not normalised, so the values of
    the loss are comparable with open-unmix's.
    """
    return functional.mse_loss(estimate.magnitudes, magnitude(batch.stem_spectra))


def complex_l1(estimate: Estimate, batch: Batch) -> Value:
    """Mean absolute error of the real and imaginary parts of spectra.

    The Fourier transform is not normalised.
    """
    return torch.view_as_real(estimate.spectra - batch.stem_spectra).abs().mean()


def complex_rmse(estimate: Estimate, batch: Batch, window: int, hop: int) -> Value:
    """Root mean squared error of complex spectra.

    The root is computed for each stem of each excerpt; the loss is the mean of the roots. The
    Fourier transform has a rectangular window of `window` samples and is normalised. Raises
    `InputError` if `hop` is not between 1 and `window`.

    Source: the training of SCNet (Tong et al., ICASSP 2024).
    """
    if not 1 <= hop <= window:
        raise InputError(f"hop {hop} does not fit window {window}; choose a hop from 1 to {window}")
    # The transform is linear, so the spectrum of the error is the error of the spectra.
    error = (estimate.waveforms - batch.stems).flatten(0, 2)
    spectrum = torch.stft(
        error,
        window,
        hop,
        window=torch.ones(window, device=error.device),
        pad_mode="constant",  # "reflect" needs excerpts longer than half a window
        normalized=True,
        return_complex=True,
    )
    parts = torch.view_as_real(spectrum).unflatten(0, batch.stems.shape[:3])
    # Without `BOUND`, the gradient of the root would not be finite for a perfect estimate.
    return (parts.square().mean(dim=(2, 3, 4, 5)) + BOUND**2).sqrt().mean()


def l1(estimate: Estimate, batch: Batch) -> Value:
    """Mean absolute error of waveforms."""
    return functional.l1_loss(estimate.waveforms, batch.stems)


def multi_resolution_stft(
    estimate: Estimate, batch: Batch, windows: Sequence[int], hop: int, waveform_weight: float
) -> Value:
    """`waveform_weight` times `l1`, plus the sum over `windows` of the error of the spectra.

    The error of one window is the mean magnitude of the difference of the complex spectra. The
    Fourier transform is not normalised. `windows` and their common `hop` are in samples. Raises
    `InputError` if `windows` is empty, or if `hop` is not between 1 and the shortest window.

    Source: the training of BS-RoFormer (Lu et al., "Music source separation with band-split RoPE
    transformer", ICASSP 2024).
    """
    if not windows:
        raise InputError("loss.windows is empty; give at least one window, in samples")
    if not 1 <= hop <= min(windows):
        raise InputError(
            f"hop {hop} does not fit windows {list(windows)}; choose a hop from 1 to the shortest "
            "window"
        )
    error = estimate.waveforms - batch.stems
    loss = waveform_weight * error.abs().mean()
    for window in windows:
        # The transform is linear, so the spectrum of the error is the error of the spectra.
        spectrum = torch.stft(
            error.flatten(0, 2),
            window,
            hop,
            window=torch.hann_window(window, device=error.device),
            pad_mode="constant",  # "reflect" needs excerpts longer than half a window
            return_complex=True,
        )
        loss = loss + spectrum.abs().mean()
    return loss


def si_sdr(estimate: Estimate, batch: Batch) -> Value:
    """Negative scale-invariant signal-to-distortion ratio in dB.

    All channels of a stem count as one signal. Stems that are silent in an excerpt are skipped; if
    all stems of a batch are silent, the loss is zero. A perfect estimate has a ratio of 80 dB and a
    silent estimate one of -80 dB, so that the gradient is finite for both.

    Source: Le Roux et al., "SDR – half-baked or well done?", ICASSP 2019.
    """
    references = batch.stems.flatten(2)
    estimates = estimate.waveforms.flatten(2)
    silence = SILENT * references.shape[2]
    energy = references.square().sum(dim=2)
    is_audible = energy > silence
    energy = energy.clamp(min=silence)
    scale = (estimates * references).sum(dim=2) / energy
    signals = scale[..., None] * references
    signal_energy = signals.square().sum(dim=2)
    distortion_energy = (estimates - signals).square().sum(dim=2) + BOUND * energy
    ratio = 10 * (signal_energy / distortion_energy + BOUND).log10()
    return -torch.where(is_audible, ratio, 0).sum() / is_audible.sum().clamp(min=1)
