"""Losses: functions of an estimate and its batch.

All are computed in float32 (the caller leaves autocast) and are means over stems and excerpts.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Inexact
from torch import Tensor
from torch.nn import functional

from stemsplit.errors import InputError
from stemsplit.models.shapes import Batch, Estimate

SILENT = 1e-8  # mean square: -80 dB of full scale
BOUND = 1e-8  # the SI-SDR of a perfect estimate is 80 dB, that of a silent one -80 dB

Value = Float[Tensor, ""]
# Waveforms or spectra, of stems and of their mixture.
Parts = Inexact[Tensor, "batch stem channel *form"]
Whole = Inexact[Tensor, "batch channel *form"]


class Loss:
    """A loss function, of the targets alone or, with `mixture_consistent`, of a whole mixture.

    `residual` names what the targets leave of the mixture. Where there is one, a mixture-consistent
    loss sees it as one stem more, estimated as mixture minus targets. Where there is none (None),
    the targets are all stems: then the function sees them projected onto the mixture.
    (With one target and a residual, their errors are equal but for the sign: losses of the bare
    error, `l1`, `complex_l1` and `multi_resolution_stft`, stay as they are.)
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
    """Add the residual to estimate and batch: what the targets leave of the mixture."""

    def complete(targets: Parts, mixture: Whole) -> Inexact[Tensor, "batch all channel *form"]:
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
    """Project the stems onto the mixture: each gets an equal share of what is left.

    (Wisdom et al., "Differentiable consistency constraints for improved deep speech enhancement",
    ICASSP 2019.)
    """

    def project(stems: Parts, mixture: Whole) -> Parts:
        return stems + (mixture - stems.sum(dim=1))[:, None] / stems.shape[1]

    return Estimate(
        lambda: project(estimate.spectra, batch.spectrum),
        lambda: project(estimate.waveforms, batch.mixture),
    )


def magnitude_mse(estimate: Estimate, batch: Batch) -> Value:
    """Mean squared error of unnormalised magnitudes, as open-unmix's training loop takes it.

    (Its spectra are not scaled by the window, so its figures are those of the study as well.)
    """
    return functional.mse_loss(estimate.magnitudes, batch.stem_spectra.abs())


def complex_l1(estimate: Estimate, batch: Batch) -> Value:
    """Mean absolute error of the real and of the imaginary parts of unnormalised spectra."""
    return torch.view_as_real(estimate.spectra - batch.stem_spectra).abs().mean()


def l1(estimate: Estimate, batch: Batch) -> Value:
    """Mean absolute error of waveforms."""
    return functional.l1_loss(estimate.waveforms, batch.stems)


def multi_resolution_stft(
    estimate: Estimate, batch: Batch, windows: Sequence[int], hop: int, waveform_weight: float
) -> Value:
    """`waveform_weight` times `l1`, plus the mean absolute error of spectra at several `windows`.

    The spectra are unnormalised, their error is the modulus of a complex number, and the windows'
    errors are added, as in the training of BS-RoFormer (Lu et al., "Music source separation with
    band-split RoPE transformer", ICASSP 2024). `windows` and their common `hop` are in samples.
    """
    if not windows or not 1 <= hop <= min(windows):
        raise InputError(
            f"hop {hop} does not suit windows {list(windows)}: choose one from 1 to the shortest"
        )
    error = estimate.waveforms - batch.stems
    loss = waveform_weight * error.abs().mean()
    for window in windows:
        # The transform is linear: one of the error does for one of each side.
        spectrum = torch.stft(
            error.flatten(0, 2),
            window,
            hop,
            window=torch.hann_window(window, device=error.device),
            pad_mode="constant",  # a reflection would need excerpts longer than half a window
            return_complex=True,
        )
        loss = loss + spectrum.abs().mean()
    return loss


def si_sdr(estimate: Estimate, batch: Batch) -> Value:
    """Negative scale-invariant signal-to-distortion ratio in dB, over all channels as one signal.

    (Le Roux et al., "SDR – half-baked or well done?", ICASSP 2019.) A stem that is silent in an
    excerpt has none and is left out; where all are, the loss is zero. Distortions less than 80 dB
    below the reference do not count, so that a perfect estimate has a gradient too.
    """
    references = batch.stems.flatten(2)
    estimates = estimate.waveforms.flatten(2)
    silence = SILENT * references.shape[2]
    energy = references.square().sum(dim=2)
    sounds = energy > silence
    energy = energy.clamp(min=silence)
    scale = (estimates * references).sum(dim=2) / energy
    signals = scale[..., None] * references
    signal = signals.square().sum(dim=2)
    distortion = (estimates - signals).square().sum(dim=2) + BOUND * energy
    ratio = 10 * (signal / distortion + BOUND).log10()
    return -torch.where(sounds, ratio, 0).sum() / sounds.sum().clamp(min=1)
