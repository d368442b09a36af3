"""Match the channels and length of estimates to their references."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from stemsplit.audio import with_channels
from stemsplit.errors import InputError

Samples = Float[np.ndarray, "channel time"]
Song = dict[str, Samples]
Estimates = dict[str, Float[np.ndarray, "_ _"]]  # channel time, of any number and length
INAUDIBLE = 1e-7  # 140 dB below full scale


def sounding(references: Song) -> tuple[Song, dict[str, int]]:
    """The references that BSS Eval can score, and notes on the others.

    museval refuses a song in which a stem is silent from end to end, or has channels that sum to
    zero throughout (antiphase), which it takes for silence; here only that stem is left out.
    """
    found = {stem: samples for stem, samples in references.items() if audible(samples)}
    notes = {
        f"{stem}: the reference {silence(samples)}; not scored": 0
        for stem, samples in references.items()
        if stem not in found
    }
    return found, notes


class Fitted(NamedTuple):
    """The estimates of one system at the references' length.

    `scored` has noise 140 dB below full scale in place of what is `silent`; `given` is without it.
    """

    scored: Song
    given: Song
    silent: set[str]
    notes: dict[str, int]  # and to how many samples, where not to all


def fitted(references: Song, estimates: Estimates) -> Fitted:
    """Estimates of the references' length, and notes on what was changed.

    A longer one is cut, a shorter one is filled with silence, as museval does it; one channel is
    given to all of the reference's, several are mixed down to its one. In place of one
    that is silent from end to end, or cancels, stands faint noise: all references stay in play, and
    its SDR is 0 dB. Raises `InputError` where a sample is not a finite number.
    """
    found = Fitted({}, {}, set(), {})
    for stem, reference in references.items():
        estimate = estimates[stem]
        bad = np.count_nonzero(~np.isfinite(estimate))
        if bad:
            raise InputError(
                f"the estimate of {stem} has {bad} samples that are not finite numbers: no score "
                "of it would mean anything"
            )
        channels, time = reference.shape
        if len(estimate) != channels:
            done = "mono: given to all channels" if len(estimate) == 1 else "mixed down to mono"
            found.notes[f"{stem}: the estimate is {done}"] = 0
            estimate = with_channels(estimate, channels)
        if longer := estimate.shape[1] - time:
            done = "longer than the reference: cut" if longer > 0 else "shorter: silence is added"
            found.notes[f"{stem}: the estimate is {done}"] = abs(longer)
        estimate = estimate[:, :time]
        if longer < 0:
            estimate = np.pad(estimate, ((0, 0), (0, -longer)))
        found.given[stem] = found.scored[stem] = estimate
        if not audible(estimate):
            found.silent.add(stem)
            note = "its SDR and ISR are those of faint noise, it has no other scores"
            found.notes[f"{stem}: the estimate {silence(estimate)}; {note}"] = 0
            noise = np.random.default_rng(0).standard_normal(estimate.shape)
            found.scored[stem] = (INAUDIBLE * noise).astype(np.float32)
    return found


def audible(samples: Float[np.ndarray, "channel _"]) -> bool:
    """Whether museval takes it for more than silence: channels that cancel are silent to it."""
    return bool(np.any(samples.sum(axis=0)))


def silence(samples: Float[np.ndarray, "channel _"]) -> str:
    return "has channels that cancel" if samples.any() else "is silent"
