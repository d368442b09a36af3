"""BSS Eval, versions 4 and 3: the scores of museval and mir_eval, computed faster.

An estimate is decomposed into true + spatial + interference + artefacts. The reference is the true
part. The projection of the estimate onto the reference, by filters of 512 taps, is true + spatial.
The projection onto all references is true + spatial + interference. The rest is artefacts. The
scores are ratios of the energies of these parts.

- A. Liutkus, F.-R. Stöter, N. Ito, "The 2018 Signal Separation Evaluation Campaign", LVA/ICA 2018:
  version 4, whose filters are those of a whole song and whose scores are taken in windows.
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

from stemsplit.evaluation.bss_eval.frames import Signals, frames, heard, matched
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

# What museval adds to the references' energies, so that a silent channel does no harm.
RIDGE = float(np.finfo(float).eps)
WINDOWS = 4  # that are taken apart at a time

Spectra = Complex128[Tensor, "freq frame part signal"]
Responses = Complex128[Tensor, "freq reference both"]
Sources = Float[Tensor, "_ _"] | Float[np.ndarray, "_ _"]  # stem time


class BssEval(NamedTuple):
    """In dB; NaN in frames that have no scores."""

    sdr: Float64[np.ndarray, "stem frame"]
    isr: Float64[np.ndarray, "stem frame"]
    sir: Float64[np.ndarray, "stem frame"]
    sar: Float64[np.ndarray, "stem frame"]


class BssEvalSources(NamedTuple):
    """In dB; NaN for all stems where one is silent."""

    sdr: Float64[np.ndarray, " stem"]
    sir: Float64[np.ndarray, " stem"]
    sar: Float64[np.ndarray, " stem"]


class Parts(NamedTuple):
    """Spectra of estimates taken apart."""

    added: Spectra  # to the reference: the spatial part, and interference
    sums: Spectra  # of the reference and the former, and of it and both; then artefacts


def bss_eval(references: Signals, estimates: Signals, window: int, hop: int) -> BssEval:
    """Version 4, as `museval.evaluate` has it: a score per stem and window.

    `window` and `hop` are in samples. The device is that of the tensors given, in double precision.
    A frame in which any reference or estimate is silent is NaN for all stems, and so, as museval
    has it, is one in which a stem's channels sum to zero: see `dropped`. Where museval refuses a
    song because a stem is silent from end to end, all frames are NaN. Rounding aside, an estimate
    that is its reference has an infinite SDR, and a stem that is alone an infinite SIR.

    Raises `InputError` where shapes differ or a sample is not a finite number.
    """
    return bss_eval_systems(references, [estimates], window, hop)[0]


def bss_eval_systems(
    references: Signals, systems: Sequence[Signals], window: int, hop: int
) -> list[BssEval]:
    """The same for the estimates of several systems at once, which share most of the work."""
    pairs = [matched(references, estimates) for estimates in systems]
    references = pairs[0][0]
    estimates = torch.cat([estimates for _, estimates in pairs])
    spans = frames(references.shape[1], window, hop)
    audible = heard(estimates, window, hop).unflatten(0, (len(systems), len(references))).all(dim=1)
    audible &= heard(references, window, hop).all(dim=0)
    scores = references.new_full((4, len(estimates), len(spans)), torch.nan, dtype=torch.float64)
    if audible.any():
        responses = responses_of(references, estimates, RIDGE, spans[0].stop)

        def part(numbers: Tensor) -> Tensor:
            some = [spans[number] for number in numbers]
            return scores_of(references, estimates, some, responses)

        parts = audible.any(dim=0).nonzero()[:, 0].split(WINDOWS)
        found = list(on_threads(part, parts, references.device))
        scores[..., torch.cat(parts)] = torch.cat(found, dim=-1)
    by_system = scores.unflatten(1, (len(systems), len(references)))
    by_system = by_system.masked_fill(~audible[:, None], torch.nan).cpu().numpy()
    return [BssEval(*by_system[:, system]) for system in range(len(systems))]


def scores_of(
    references: References, estimates: AllEstimates, spans: list[slice], responses: Responses
) -> Float64[Tensor, "score estimate frame"]:
    """SDR, ISR, SIR and SAR."""
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
    return torch.stack([decibels(part, other, channels) for part, other in ratios])


def bss_eval_sources(references: Sources, estimates: Sources) -> BssEvalSources:
    """Version 3, as `mir_eval.separation.bss_eval_sources` has it without permutations.

    A score per stem, of mono sources: what filters can make of a reference counts as the reference.
    Where mir_eval refuses a silent signal, all scores are NaN. Device, precision and errors are
    those of `bss_eval`; the memory is that of the whole signals' transforms.
    """
    return bss_eval_sources_systems(references, [estimates])[0]


def bss_eval_sources_systems(
    references: Sources, systems: Sequence[Sources]
) -> list[BssEvalSources]:
    """The same for the estimates of several systems at once, which share most of the work."""
    pairs = [matched(references[..., None], estimates[..., None]) for estimates in systems]
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
    """The filters that make spatial parts, then those that make interference, by frequency.

    The estimates are those of one system after the other. The frequencies are those of a transform
    that holds a window and the tail that a filter adds: energies are the same there as in time.
    """
    channels = references.shape[2]
    found = correlations(references, estimates)
    count, total = found.shape[:2]
    joint = projection_filters(references, found, ridge)
    own = torch.zeros_like(joint)
    for first in range(0, count, channels):
        stem = list(range(first, first + channels))
        its = [start + channel for start in range(count, total, count) for channel in stem]
        reference = references[first // channels :][:1]
        filters = projection_filters(reference, found[stem][:, stem + its], ridge, refine=True)
        own[first : first + channels, [column - count for column in its]] = filters
    interference = joint - own
    # What is left of the filtered reference is spatial.
    own.unflatten(1, (-1, count)).diagonal(dim1=0, dim2=2)[:, 0] -= 1
    half = next_fast_len(-(-(window + TAPS - 1) // 2), real=True)
    responses = torch.fft.rfft(torch.cat((own, interference), dim=1), 2 * half)
    return responses.permute(2, 0, 1).contiguous()


def decompose(
    reference: Float64[Tensor, "stretch reference length"],
    estimate: Stretches,
    responses: Responses,
) -> Iterator[Parts]:
    """Take the estimates of some windows apart, a band of frequencies after the other."""
    spectra = [torch.fft.rfft(x, norm="ortho") for x in (reference, estimate)]
    for spectrum in spectra:
        spectrum[..., [0, -1]] *= 0.5**0.5  # all others stand for a negative frequency as well
    # Few enough that they stay in a core's cache. Accelerators want long operations.
    few = 2**15 if reference.device.type == "cpu" else 2**24
    band_size = max(1, few // reference[..., 0].numel())
    for start in range(0, len(responses), band_size):
        band = slice(start, start + band_size)
        true, whole = (x[..., band].permute(2, 0, 1).contiguous() for x in spectra)
        added = torch.bmm(true, responses[band]).unflatten(2, (2, -1))
        sums = whole.new_empty((*whole.shape[:2], 3, whole.shape[2]))
        spatial, interference = added.unbind(2)
        filtered, projected, artefacts = sums.unbind(2)
        by_system = (-1, true.shape[2])
        torch.add(
            spatial.unflatten(2, by_system),
            true[:, :, None],
            out=filtered.unflatten(2, by_system),
        )
        torch.add(filtered, interference, out=projected)
        torch.sub(whole, projected, out=artefacts)
        yield Parts(added, sums)


def energies(spectra: Spectra) -> Float64[Tensor, "part frame signal"]:
    return 2 * torch.view_as_real(spectra).square().sum(0).sum(-1).transpose(0, 1)


def decibels(
    energies: Float64[Tensor, "frame signal"],
    others: Float64[Tensor, "frame signal"],
    channels: int,
) -> Float64[Tensor, "stem frame"]:
    """Of energies over others, each summed over a stem's channels; infinite over nothing."""
    part, other = (x.unflatten(1, (-1, channels)).sum(-1).T for x in (energies, others))
    return torch.where(other == 0, torch.inf, 10 * torch.log10(part / other))
