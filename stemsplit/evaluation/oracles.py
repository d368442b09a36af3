"""Ideal masks: upper bounds of separation, computed from the true stems.

Each mask is computed from the spectra of the true stems and applied to the spectrum of the mixture.
The names follow the SiSEC campaigns: ideal ratio masks of magnitudes (IRM1) and of powers (IRM2),
the ideal binary mask of magnitudes (IBM1) and the multichannel Wiener filter (MWF). See F.-R.
Stöter, A. Liutkus, N. Ito, "The 2018 Signal Separation Evaluation Campaign", LVA/ICA 2018.
"""

from collections.abc import Callable

import torch

from stemsplit.models.shapes import Spectrum, StemMagnitudes, Stems, StemSpectra, Waveform
from stemsplit.separation.chunks.blocks import chunks_of, cross_faded
from stemsplit.separation.front_end import FrontEnd
from stemsplit.separation.spectra import masked
from stemsplit.separation.wiener import wiener

CHUNK_SECONDS, OVERLAP_SECONDS = 30.0, 2.0

Oracle = Callable[[StemSpectra, Spectrum], StemSpectra]


def ratio_mask(power: float) -> Oracle:
    """Return an oracle that applies an ideal ratio mask.

    All magnitudes are first raised to `power`. The mask of a stem is then the ratio of the stem to
    the sum over all stems. A power of 1 gives IRM1. A power of 2 gives IRM2, which is the gain of
    the Wiener filter.
    """

    def apply(stems: StemSpectra, mixture: Spectrum) -> StemSpectra:
        return masked(_ratios(stems.abs() ** power), mixture)

    return apply


def binary_mask(stems: StemSpectra, mixture: Spectrum) -> StemSpectra:
    """Give each bin of the mixture to the stem that has more than half of the summed magnitudes.

    A bin without such a stem is silent in all estimates.
    """
    return masked((_ratios(stems.abs()) > 0.5).float(), mixture)


def multichannel_wiener(stems: StemSpectra, mixture: Spectrum) -> StemSpectra:
    """Apply the multichannel Wiener filter with the true powers and spatial covariances."""
    return wiener(stems, mixture, iterations=1)


ORACLES: dict[str, Oracle] = {
    "IRM1": ratio_mask(1),
    "IRM2": ratio_mask(2),
    "IBM1": binary_mask,
    "MWF": multichannel_wiener,
}


def _ratios(magnitudes: StemMagnitudes) -> StemMagnitudes:
    total = magnitudes.sum(dim=1, keepdim=True)
    # A bin in which all stems are silent has a ratio of 0 for every stem.
    return magnitudes / total.clamp(min=torch.finfo(total.dtype).tiny)


def scaled_transform(window: int, hop: int, sample_rate: int, other_rate: int) -> dict[str, int]:
    """Convert a window and a hop from samples at `sample_rate` to samples at `other_rate`.

    Their durations stay the same except for rounding. The ratio of window to hop stays the same.
    """
    if sample_rate == other_rate:
        return {"window": window, "hop": hop}
    other_hop = max(1, round(hop * other_rate / sample_rate))
    return {"window": other_hop * round(window / hop), "hop": other_hop}


@torch.inference_mode()
def separate(oracle: Oracle, front_end: FrontEnd, stems: Stems, mixture: Waveform) -> Stems:
    """Separate a mixture with an ideal mask; the estimates have the shape of the true stems.

    As in a separator, the mixture is separated in chunks, which are then cross-faded. So the memory
    for the spectra does not grow with the length of the song.
    """
    chunk = round(CHUNK_SECONDS * front_end.sample_rate)
    overlap = round(OVERLAP_SECONDS * front_end.sample_rate)
    signals = torch.cat([stems, mixture[:, None]], dim=1)
    separated = (
        (_estimates(oracle, front_end, samples[:, :-1], samples[:, -1]), is_last)
        for samples, _, is_last in chunks_of([signals], chunk, overlap)
    )
    return torch.cat(list(cross_faded(separated, overlap)), dim=-1)


def _estimates(oracle: Oracle, front_end: FrontEnd, stems: Stems, mixture: Waveform) -> Stems:
    spectra = oracle(front_end(stems), front_end(mixture))
    return front_end.inverse(spectra, mixture.shape[-1])
