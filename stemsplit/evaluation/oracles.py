"""Ideal masks: upper bounds, computed from the true stems.

Each mask is computed from the spectra of the true stems and applied to the spectrum of the mixture.
The names are those of the SiSEC campaigns: ideal ratio masks of magnitudes (IRM1) and of powers
(IRM2), the ideal binary mask of magnitudes (IBM1), the multichannel Wiener filter (MWF). See F.-R.
Stöter, A. Liutkus, N. Ito, "The 2018 Signal Separation Evaluation Campaign", LVA/ICA 2018.
"""

from collections.abc import Callable

import torch

from stemsplit.models.shapes import Spectrum, StemMagnitudes, Stems, StemSpectra, Waveform
from stemsplit.separation.front_end import FrontEnd
from stemsplit.separation.overlap_add import crossfades
from stemsplit.separation.wiener import wiener

CHUNK_SECONDS, OVERLAP_SECONDS = 30.0, 2.0

Oracle = Callable[[StemSpectra, Spectrum], StemSpectra]


def ratio_mask(power: float) -> Oracle:
    """Each stem's magnitude to a power over the sum of all: 1 is the IRM, 2 is Wiener's gain."""

    def apply(stems: StemSpectra, mixture: Spectrum) -> StemSpectra:
        return _shares(stems.abs() ** power) * mixture[:, None]

    return apply


def binary_mask(stems: StemSpectra, mixture: Spectrum) -> StemSpectra:
    """A bin belongs to a stem that has more than half of the magnitudes there."""
    return (_shares(stems.abs()) > 0.5) * mixture[:, None]


def multichannel_wiener(stems: StemSpectra, mixture: Spectrum) -> StemSpectra:
    """The multichannel Wiener filter of the true powers and spatial covariances."""
    return wiener(stems, mixture, iterations=1)


ORACLES: dict[str, Oracle] = {
    "IRM1": ratio_mask(1),
    "IRM2": ratio_mask(2),
    "IBM1": binary_mask,
    "MWF": multichannel_wiener,
}


def _shares(magnitudes: StemMagnitudes) -> StemMagnitudes:
    total = magnitudes.sum(dim=1, keepdim=True)
    # Where all is silent, nobody has it.
    return magnitudes / total.clamp(min=torch.finfo(total.dtype).tiny)


def scaled_transform(window: int, hop: int, sample_rate: int, other_rate: int) -> dict[str, int]:
    """Window and hop of the same duration at another sample rate, as near as whole samples come."""
    if sample_rate == other_rate:
        return {"window": window, "hop": hop}
    other_hop = max(1, round(hop * other_rate / sample_rate))
    return {"window": other_hop * round(window / hop), "hop": other_hop}


@torch.inference_mode()
def separate(oracle: Oracle, front_end: FrontEnd, stems: Stems, mixture: Waveform) -> Stems:
    """The stems that an oracle gives of a mixture, with the length of the true ones.

    In chunks that are cross-faded, as a separator does it, so that long songs take no more memory.
    """
    chunk = round(CHUNK_SECONDS * front_end.sample_rate)
    overlap = round(OVERLAP_SECONDS * front_end.sample_rate)
    estimates = torch.zeros_like(stems)
    for start, weight in crossfades(mixture.shape[-1], chunk, overlap):
        place = slice(start, start + len(weight))
        spectra = oracle(front_end(stems[..., place]), front_end(mixture[..., place]))
        estimates[..., place] += front_end.inverse(spectra, len(weight)) * weight
    return estimates
