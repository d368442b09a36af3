"""BSS Eval, versions 4 and 3: the scores of museval and mir_eval, computed faster.

An estimate is decomposed into true + spatial + interference + artefacts. The reference is the true
part. The projection of the estimate onto the reference, by filters of 512 taps, is true + spatial.
The projection onto all references is true + spatial + interference. The remainder is artefacts. The
scores are ratios of the energies of these parts.

- A. Liutkus, F.-R. Stöter, N. Ito, "The 2018 Signal Separation Evaluation Campaign", LVA/ICA 2018:
  version 4, which computes the filters once per song and the scores in windows.
- E. Vincent, R. Gribonval, C. Févotte, "Performance measurement in blind audio source separation",
  IEEE TASLP 14(4), 2006: version 3.
"""

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Complex128, Float, Float64
from scipy.fft import next_fast_len
from torch import Tensor

from stemsplit.evaluation.bss_eval.frames import Signals, audible_frames, checked_pair, frames
from stemsplit.evaluation.bss_eval.projection import (
    TAPS,
    AllEstimates,
    References,
    Stretches,
    correlations,
    on_threads,
    projection_filters,
    stretches,
)

# museval adds this to the energies of the references, so that a silent channel does not make the
# equations singular.
RIDGE = float(np.finfo(float).eps)
WINDOWS = 4  # number of windows that are decomposed at a time

Spectra = Complex128[Tensor, "freq frame part signal"]
Responses = Complex128[Tensor, "freq reference component"]
Sources = Float[Tensor, "_ _"] | Float[np.ndarray, "_ _"]  # stem time


class BssEval(NamedTuple):
    """Scores in dB; NaN in frames without scores."""

    sdr: Float64[np.ndarray, "stem frame"]
    isr: Float64[np.ndarray, "stem frame"]
    sir: Float64[np.ndarray, "stem frame"]
    sar: Float64[np.ndarray, "stem frame"]


class BssEvalSources(NamedTuple):
    """Scores in dB; NaN for all stems if any reference or estimate is silent."""

    sdr: Float64[np.ndarray, " stem"]
    sir: Float64[np.ndarray, " stem"]
    sar: Float64[np.ndarray, " stem"]


class Parts(NamedTuple):
    """Spectra of the parts of estimates. The comments give the order along the axis `part`."""

    added: Spectra  # spatial, interference
    sums: Spectra  # true + spatial, true + spatial + interference, artefacts


def bss_eval(references: Signals, estimates: Signals, window: int, hop: int) -> BssEval:
    """Scores of BSS Eval v4 per stem and window, equal to those of `museval.evaluate`.

    References and estimates are `(stem, time, channel)`; `window` and `hop` are in samples. The
    computation runs on the device of the tensors, in double precision.

    A frame is NaN for all stems if any reference or estimate is silent in it. As in museval, a stem
    is also silent if its channels sum to zero; see `dropped`. If a stem is silent throughout, all
    frames are NaN (museval raises an error). An estimate that equals its reference has an
    infinite SDR. In theory, its other scores are infinite, too, and so is the SIR if there is only
    one stem, but rounding errors may make these scores large and finite.

    Raises `InputError` if the shapes differ, or a signal contains NaN or infinity.
    """
    return bss_eval_systems(references, [estimates], window, hop)[0]


def bss_eval_systems(
    references: Signals, systems: Sequence[Signals], window: int, hop: int
) -> list[BssEval]:
    """Compute `bss_eval` for several systems at once, so they share most of the work."""
    pairs = [checked_pair(references, estimates) for estimates in systems]
    references = pairs[0][0]
    estimates = torch.cat([estimates for _, estimates in pairs])
    spans = frames(references.shape[1], window, hop)
    audible = audible_frames(estimates, window, hop)
    audible = audible.unflatten(0, (len(systems), len(references))).all(dim=1)
    audible &= audible_frames(references, window, hop).all(dim=0)
    scores = references.new_full((4, len(estimates), len(spans)), torch.nan, dtype=torch.float64)
    if audible.any():
        responses = responses_of(references, estimates, RIDGE, spans[0].stop)

        def scores_of_batch(batch: Tensor) -> Tensor:
            batch_spans = [spans[frame] for frame in batch]
            return scores_of(references, estimates, batch_spans, responses)

        batches = audible.any(dim=0).nonzero()[:, 0].split(WINDOWS)
        results = list(on_threads(scores_of_batch, batches, references.device))
        scores[..., torch.cat(batches)] = torch.cat(results, dim=-1)
    by_system = scores.unflatten(1, (len(systems), len(references)))
    by_system = by_system.masked_fill(~audible[:, None], torch.nan).cpu().numpy()
    return [BssEval(*by_system[:, system]) for system in range(len(systems))]


def scores_of(
    references: References, estimates: AllEstimates, spans: list[slice], responses: Responses
) -> Float64[Tensor, "score estimate frame"]:
    """SDR, ISR, SIR and SAR of all estimates in dB, in the windows at `spans`."""
    channels = references.shape[2]
    length = 2 * (len(responses) - 1)
    reference, estimate = (stretches(x, spans, length) for x in (references, estimates))
    bands = (
        torch.cat([energies(spectra) for spectra in parts])
        for parts in decompose(reference, estimate, responses)
    )
    spatial, interference, filtered, projected, artefacts = reduce(torch.add, bands)
    systems = len(estimates) // len(references)
    true = reference.square().sum(-1).repeat(1, systems)
    error = estimate.unflatten(1, (systems, -1)) - reference[:, None]
    distortion = error.square().sum(-1).flatten(1)
    ratios = (
        (true, distortion),
        (true, spatial),
        (filtered, interference),
        (projected, artefacts),
    )
    return torch.stack([decibels(energy, error, channels) for energy, error in ratios])


def bss_eval_sources(references: Sources, estimates: Sources) -> BssEvalSources:
    """Scores of BSS Eval v3 per stem, equal to `mir_eval.separation.bss_eval_sources`.

    References and estimates are mono, `(stem, time)`, and must be in the same order, because this
    function does not search for the best permutation. Version 3 does not count filtering of the
    reference as an error. If a signal is silent, all scores are NaN (mir_eval raises an error).
    Device, precision and exceptions are as in `bss_eval`; the memory grows with the length of the
    signals.
    """
    return bss_eval_sources_systems(references, [estimates])[0]


def bss_eval_sources_systems(
    references: Sources, systems: Sequence[Sources]
) -> list[BssEvalSources]:
    """Compute `bss_eval_sources` for several systems at once, so they share most of the work."""
    pairs = [checked_pair(references[..., None], estimates[..., None]) for estimates in systems]
    sources = pairs[0][0]
    estimates = torch.cat([estimates for _, estimates in pairs])
    stems, time, _ = sources.shape
    scores = sources.new_full((3, len(estimates)), torch.nan, dtype=torch.float64)
    if sources.any(dim=1).all():
        responses = responses_of(sources, estimates, 0.0, time)
        length = 2 * (len(responses) - 1)
        reference, estimate = (stretches(x, [slice(0, time)], length) for x in (sources, estimates))
        bands = (
            torch.cat([energies(x) for x in (added, sums, added[:, :, 1:] + sums[:, :, 2:])])
            for added, sums in decompose(reference, estimate, responses)
        )
        _, interference, filtered, projected, artefacts, distortion = reduce(torch.add, bands)
        scores[0] = decibels(filtered, distortion, 1)[:, 0]
        scores[1] = decibels(filtered, interference, 1)[:, 0]
        scores[2] = decibels(projected, artefacts, 1)[:, 0]
    by_system = scores.unflatten(1, (len(systems), stems))
    silent = ~estimates.any(dim=1)[:, 0].unflatten(0, (len(systems), stems)).all(dim=1)
    by_system = by_system.masked_fill(silent[:, None], torch.nan).cpu().numpy()
    return [BssEvalSources(*by_system[:, system]) for system in range(len(systems))]


def responses_of(
    references: References, estimates: AllEstimates, ridge: float, window: int
) -> Responses:
    """Frequency responses of the filters from the references to the spatial parts and interference.

    The axis `component` has the spatial parts of all estimates, then their interference.
    `estimates` holds the stems of the first system, then the stems of the second, and so on. The
    transform has room for a window and the tail of a filter. So a filtered window does not wrap
    around, and the energy of its spectrum equals the energy of the signal.
    """
    channels = references.shape[2]
    lags = correlations(references, estimates)
    count, total = lags.shape[:2]
    joint = projection_filters(references, lags, ridge)
    own = torch.zeros_like(joint)
    for first in range(0, count, channels):
        stem = list(range(first, first + channels))
        columns = [start + channel for start in range(count, total, count) for channel in stem]
        reference = references[first // channels :][:1]
        filters = projection_filters(reference, lags[stem][:, stem + columns], ridge, refine=True)
        own[first : first + channels, [column - count for column in columns]] = filters
    interference = joint - own
    # The spatial part is the filtered reference minus the reference.
    own.unflatten(1, (-1, count)).diagonal(dim1=0, dim2=2)[:, 0] -= 1
    half = next_fast_len(-(-(window + TAPS - 1) // 2), real=True)
    responses = torch.fft.rfft(torch.cat((own, interference), dim=1), 2 * half)
    return responses.permute(2, 0, 1).contiguous()


def decompose(
    reference: Float64[Tensor, "stretch reference length"],
    estimate: Stretches,
    responses: Responses,
) -> Iterator[Parts]:
    """Yield the parts of the estimates in some windows, one band of frequencies at a time."""
    spectra = [torch.fft.rfft(x, norm="ortho") for x in (reference, estimate)]
    for spectrum in spectra:
        # `energies` doubles every frequency to include the negative frequency. The first and the
        # last frequency have no negative counterpart, so their energy is halved here.
        spectrum[..., [0, -1]] *= 0.5**0.5
    # On a CPU, a band is small enough for the cache of a core. An accelerator is faster with a few
    # long operations, so its bands are larger.
    band_elements = 2**15 if reference.device.type == "cpu" else 2**24
    band_size = max(1, band_elements // reference[..., 0].numel())
    for start in range(0, len(responses), band_size):
        band = slice(start, start + band_size)
        true, estimated = (x[..., band].permute(2, 0, 1).contiguous() for x in spectra)
        added = torch.bmm(true, responses[band]).unflatten(2, (2, -1))
        sums = estimated.new_empty((*estimated.shape[:2], 3, estimated.shape[2]))
        spatial, interference = added.unbind(2)
        filtered, projected, artefacts = sums.unbind(2)
        by_system = (-1, true.shape[2])
        torch.add(
            spatial.unflatten(2, by_system),
            true[:, :, None],
            out=filtered.unflatten(2, by_system),
        )
        torch.add(filtered, interference, out=projected)
        torch.sub(estimated, projected, out=artefacts)
        yield Parts(added, sums)


def energies(spectra: Spectra) -> Float64[Tensor, "part frame signal"]:
    return 2 * torch.view_as_real(spectra).square().sum(0).sum(-1).transpose(0, 1)


def decibels(
    energies: Float64[Tensor, "frame signal"],
    errors: Float64[Tensor, "frame signal"],
    channels: int,
) -> Float64[Tensor, "stem frame"]:
    """Ratio of energy to error in dB; infinity if the error is 0.

    Energy and error are first summed over the channels of each stem.
    """
    energy, error = (x.unflatten(1, (-1, channels)).sum(-1).T for x in (energies, errors))
    return torch.where(error == 0, torch.inf, 10 * torch.log10(energy / error))
