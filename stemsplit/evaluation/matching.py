"""Match the channels and the length of estimates to the references; handle silent stems."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from stemsplit.audio import with_channels
from stemsplit.errors import InputError
from stemsplit.terminal.counts import counted

Samples = Float[np.ndarray, "channel time"]
Song = dict[str, Samples]
Estimates = dict[str, Float[np.ndarray, "_ _"]]  # (channel, time), of any size
INAUDIBLE = 1e-7  # amplitude, 140 dB below full scale


def scorable(references: Song) -> tuple[Song, dict[str, int]]:
    """The references that BSS Eval can score, and notes on the other stems.

    museval refuses a song if one stem is silent throughout, or if the channels of one stem sum to
    zero throughout (antiphase). This function leaves out such a stem, so that the other stems can
    be scored.
    """
    audible = {stem: samples for stem, samples in references.items() if is_audible(samples)}
    notes = {
        f"{stem}: the reference {describe_silence(samples)}; not scored": 0
        for stem, samples in references.items()
        if stem not in audible
    }
    return audible, notes


class FittedEstimates(NamedTuple):
    """The estimates of one system, with the shapes of the references.

    In `scored`, noise at 140 dB below full scale replaces the stems in `silent`. `unchanged` holds
    the same estimates without this noise.
    """

    scored: Song
    unchanged: Song
    silent: set[str]
    notes: dict[str, int]  # number of samples that each note concerns; 0 means the whole stem


def fit_estimates(references: Song, estimates: Estimates) -> FittedEstimates:
    """Give estimates the shapes of the references, and note every change.

    As in museval, a longer estimate is cut and a shorter one is padded with silence. A mono
    estimate is copied to all channels of the reference; several channels are mixed down for a mono
    reference. Faint noise replaces an estimate that is silent throughout, or whose channels cancel.
    Then the other stems can be scored, and the SDR of the silent stem is 0 dB.

    Raises `InputError` if an estimate contains NaN or infinity.
    """
    fitted = FittedEstimates({}, {}, set(), {})
    for stem, reference in references.items():
        estimate = estimates[stem]
        bad = int((~np.isfinite(estimate)).sum())
        if bad:
            raise InputError(
                f"the estimate of {stem} has {counted(bad, 'sample')} with NaN or infinity: it "
                "cannot be scored"
            )
        channels, time = reference.shape
        if len(estimate) != channels:
            change = "mono: copied to all channels" if len(estimate) == 1 else "mixed down to mono"
            fitted.notes[f"{stem}: the estimate is {change}"] = 0
            estimate = with_channels(estimate, channels)
        if surplus := estimate.shape[1] - time:
            change = "longer than the reference: cut"
            if surplus < 0:
                change = "shorter than the reference: padded with silence"
            fitted.notes[f"{stem}: the estimate is {change}"] = abs(surplus)
        estimate = estimate[:, :time]
        if surplus < 0:
            estimate = np.pad(estimate, ((0, 0), (0, -surplus)))
        fitted.unchanged[stem] = fitted.scored[stem] = estimate
        if not is_audible(estimate):
            fitted.silent.add(stem)
            note = "only SDR and ISR are scored, with faint noise in its place"
            fitted.notes[f"{stem}: the estimate {describe_silence(estimate)}; {note}"] = 0
            noise = np.random.default_rng(0).standard_normal(estimate.shape)
            fitted.scored[stem] = (INAUDIBLE * noise).astype(np.float32)
    return fitted


def is_audible(samples: Float[np.ndarray, "channel _"]) -> bool:
    """Whether the sum of the channels is not silent. For museval, antiphase counts as silence."""
    return bool(np.any(samples.sum(axis=0)))


def describe_silence(samples: Float[np.ndarray, "channel _"]) -> str:
    return "has channels that cancel" if samples.any() else "is silent"
