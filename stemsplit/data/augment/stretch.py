"""Change tempo or pitch alone: a phase vocoder, followed by a change of speed.

The vocoder lays short-time spectra closer together or further apart than they were, and turns
their phases so that every partial runs on smoothly. Partials lead, and what lies around one turns
with it, as in the identity phase locking of Laroche and Dolson, "Improved phase vocoder time-scale
modification of audio" (IEEE Transactions on Speech and Audio Processing, 1999): without it noise
loses 3 dB.
"""

import math

import numpy as np
import torch
from jaxtyping import Complex, Float, Int64
from torch import Tensor
from torch.nn import functional

from stemsplit.data.augment import speed
from stemsplit.models.shapes import Waveform

WINDOW_SECONDS = 0.046  # long enough to part a voice's harmonics, short enough for a drum
SILENCE = 1e-30  # of a product of two spectra: float32 holds no phase of smaller ones
ONSET = 8  # times the power of a hop before: here a partial begins
AT_ONCE = 16  # waveforms: of six seconds and two channels, their spectra take a gigabyte
DOUBLINGS = 3  # of the steps that a bin looks uphill for its partial: to 8 bins away

Factors = Float[np.ndarray, " batch"]
Spectra = Complex[Tensor, "batch frame channel freq"]
Power = Float[Tensor, "batch frame freq"]


def window_of(sample_rate: int) -> int:
    """The vocoder's window in samples, a power of two."""
    return 2 ** round(math.log2(WINDOW_SECONDS * sample_rate))


def with_tempo_and_pitch(
    samples: Waveform, tempos: Factors, pitches: Factors, start: int, time: int, window: int
) -> Float[Tensor, "batch channel _"]:
    """Each waveform at its own tempo and pitch (2: twice as fast, an octave up), as `stretch` does.

    Pitches are those that `speed.nearest` gives.
    """
    length = speed.samples_read(max(1.0, float(pitches.max())), time)
    result = samples.new_empty(*samples.shape[:2], time)
    for first in range(0, len(samples), AT_ONCE):
        some = slice(first, first + AT_ONCE)
        stretched = stretch(samples[some], tempos[some] / pitches[some], start, length, window)
        result[some] = stretched[..., :time]
        shifted = np.flatnonzero(pitches[some] != 1)
        if len(shifted):
            rows = torch.from_numpy(shifted).to(samples.device)
            result[first + rows] = speed.at_speed(stretched[rows], pitches[first + shifted], time)
    return result


def stretch(
    samples: Waveform, tempos: Factors, start: int, time: int, window: int
) -> Float[Tensor, "batch channel _"]:
    """Each waveform at its own tempo (1 as it is, 2 twice as fast): `time` samples from `start` on.

    Sample t of the result is what was heard around sample `start` + tempo × t. What lies up to a
    window before `start` and after the end is looked at too; outside the waveform is silence. All
    channels turn alike, so the stereo image stays.
    """
    hop = window // 4
    frames = 3 + -(-time // hop)
    centres = hop * (np.arange(frames) - 3) + window // 2  # of the frames, in the result
    firsts = np.rint(start + tempos[:, None] * centres).astype(np.int64) - window // 2
    before = max(0, hop - int(firsts.min()))
    after = max(0, int(firsts.max()) + window - samples.shape[-1])
    views = functional.pad(samples, (before, after)).unfold(-1, window, 1)
    positions = torch.from_numpy(firsts + before).to(samples.device)
    hann = torch.hann_window(window, dtype=samples.dtype, device=samples.device)

    def spectra(positions: Int64[Tensor, "batch frame"]) -> Spectra:
        examples = torch.arange(len(positions), device=positions.device)[:, None]
        return torch.fft.rfft(views[examples, :, positions].mul_(hann))

    laid = spectra(positions)
    # A frame follows the one before as it follows, in the input, what stands a hop before it.
    laid *= _rotations(laid, spectra(positions[:, 1:] - hop))[:, :, None]
    # Hann windows, squared, a quarter of their length apart sum to 3 / 2.
    pieces = torch.fft.irfft(laid, window).mul_(hann / 1.5).unflatten(-1, (4, hop))
    result = pieces[:, 3:, :, 0] + pieces[:, 2:-1, :, 1]
    result += pieces[:, 1:-2, :, 2] + pieces[:, :-3, :, 3]
    return result.transpose(1, 2).flatten(2)[..., :time]


def _rotations(
    laid: Spectra, earlier: Complex[Tensor, "batch change channel freq"]
) -> Complex[Tensor, "batch frame freq"]:
    """What to multiply the bins of each frame by, so that its partials run on from the one before.

    That is the rotation of the partial's bin there, and what `earlier` differs from there in phase.
    A partial that begins has nothing to run on from and keeps its phase, so that onsets stay sharp.
    """
    power = _power(laid)
    partials = _partials(power)[:, 1:]
    begins = (power[:, 1:] > ONSET * _power(earlier)).gather(-1, partials)
    # One bin more, which never turns: it is followed where a partial begins.
    steady = power.shape[-1]
    partials = functional.pad(torch.where(begins, steady, partials), (0, 1), value=steady)
    turns = (laid[:, :-1] * earlier.conj()).sum(dim=2)
    size = turns.abs()
    turns = functional.pad(torch.where(size > SILENCE, turns / size, 1), (0, 1), value=1.0)
    rotations = [torch.ones_like(turns[:, 0])]
    for turn, partial in zip(turns.unbind(1), partials.unbind(1), strict=True):
        rotations.append((rotations[-1] * turn).gather(-1, partial))  # each needs the one before
    return torch.stack(rotations, dim=1)[..., :steady]


def _partials(power: Power) -> Int64[Tensor, "batch frame freq"]:
    """The loudest bin of the slope that each bin is on."""
    edged = functional.pad(power, (1, 1), value=-1.0)
    left, right = edged[..., :-2], edged[..., 2:]
    up = ((right > power) & (right >= left)).long() - ((left > power) & (left > right)).long()
    up += torch.arange(power.shape[-1], device=power.device)
    for _ in range(DOUBLINGS):
        up = up.gather(-1, up)
    return up


def _power(spectra: Spectra) -> Power:
    """Of all channels together."""
    return (spectra.real.square() + spectra.imag.square()).sum(dim=2)
