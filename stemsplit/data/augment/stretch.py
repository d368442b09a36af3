"""Change tempo and pitch independently, with a phase vocoder and then a change of speed.

The vocoder changes the distance between short-time spectra and rotates their phases, so that every
partial continues smoothly. All bins around a partial rotate by the angle of the partial, as in the
identity phase locking of Laroche and Dolson, "Improved phase vocoder time-scale modification of
audio" (IEEE Transactions on Speech and Audio Processing, 1999). Without phase locking, noise loses
3 dB.
"""

import math

import numpy as np
import torch
from jaxtyping import Complex, Float, Int64
from torch import Tensor
from torch.nn import functional

from stemsplit.data.augment import speed
from stemsplit.models.shapes import Waveform

WINDOW_SECONDS = 0.046  # resolves the harmonics of a voice and the onsets of a drum
SILENCE = 1e-30  # smallest product of two spectra whose phase float32 can represent
ONSET = 8  # a partial begins where the power is more than this many times the power one hop before
AT_ONCE = 16  # waveforms per batch; the spectra of 16 stereo waveforms of 6 s take about a gigabyte
DOUBLINGS = 3  # a bin finds its partial among the 2**DOUBLINGS bins to either side

Factors = Float[np.ndarray, " batch"]
Spectra = Complex[Tensor, "batch frame channel freq"]
Power = Float[Tensor, "batch frame freq"]


def window_of(sample_rate: int) -> int:
    """Length of the vocoder's window in samples, a power of two."""
    return 2 ** round(math.log2(WINDOW_SECONDS * sample_rate))


def with_tempo_and_pitch(
    samples: Waveform, tempos: Factors, pitches: Factors, start: int, time: int, window: int
) -> Float[Tensor, "batch channel _"]:
    """Change each waveform by its tempo and pitch factors (2: twice as fast, an octave up).

    See `stretch` for `start`, `time` and `window`. The pitches must be multiples of
    1 / `speed.GRID` (see `speed.nearest`).
    """
    length = speed.samples_read(max(1.0, float(pitches.max())), time)
    result = samples.new_empty(*samples.shape[:2], time)
    for first in range(0, len(samples), AT_ONCE):
        batch = slice(first, first + AT_ONCE)
        stretched = stretch(samples[batch], tempos[batch] / pitches[batch], start, length, window)
        result[batch] = stretched[..., :time]
        shifted = np.flatnonzero(pitches[batch] != 1)
        if len(shifted):
            rows = torch.from_numpy(shifted).to(samples.device)
            result[first + rows] = speed.at_speed(stretched[rows], pitches[first + shifted], time)
    return result


def stretch(
    samples: Waveform, tempos: Factors, start: int, time: int, window: int
) -> Float[Tensor, "batch channel _"]:
    """Change each waveform by its tempo factor (2: twice as fast); return `time` samples.

    Output sample t corresponds to input sample `start` + tempo × t. The result also depends on one
    window of samples before `start` and one after the end; the waveform is padded with silence. All
    channels have the same phase rotations, which preserves the stereo image.
    """
    hop = window // 4
    frames = 3 + -(-time // hop)
    centres = hop * (np.arange(frames) - 3) + window // 2  # frame centres in the output
    firsts = np.rint(start + tempos[:, None] * centres).astype(np.int64) - window // 2
    before = max(0, hop - int(firsts.min()))
    after = max(0, int(firsts.max()) + window - samples.shape[-1])
    views = functional.pad(samples, (before, after)).unfold(-1, window, 1)
    positions = torch.from_numpy(firsts + before).to(samples.device)
    hann = torch.hann_window(window, dtype=samples.dtype, device=samples.device)

    def spectra(positions: Int64[Tensor, "batch frame"]) -> Spectra:
        examples = torch.arange(len(positions), device=positions.device)[:, None]
        return torch.fft.rfft(views[examples, :, positions].mul_(hann))

    output = spectra(positions)
    # The phase difference of two successive output frames must equal the phase difference between
    # an input frame and the input one hop before it.
    output *= _rotations(output, spectra(positions[:, 1:] - hop))[:, :, None]
    # Squared Hann windows at a hop of a quarter window sum to 3 / 2.
    pieces = torch.fft.irfft(output, window).mul_(hann / 1.5).unflatten(-1, (4, hop))
    result = pieces[:, 3:, :, 0] + pieces[:, 2:-1, :, 1]
    result += pieces[:, 1:-2, :, 2] + pieces[:, :-3, :, 3]
    return result.transpose(1, 2).flatten(2)[..., :time]


def _rotations(
    spectra: Spectra, earlier: Complex[Tensor, "batch change channel freq"]
) -> Complex[Tensor, "batch frame freq"]:
    """Unit factors that rotate the phases of the frames, so that all partials continue smoothly.

    `earlier` holds the input spectra one hop before each frame except the first frame. The factor
    of a bin is a product of two numbers at the bin of its partial: the factor of the previous
    frame, and the phase difference between the previous frame and `earlier`. A partial that begins
    in a frame keeps its phase, so onsets stay sharp.
    """
    power = _power(spectra)
    partials = _partials(power)[:, 1:]
    begins = (power[:, 1:] > ONSET * _power(earlier)).gather(-1, partials)
    # A partial that begins takes its factor from an additional bin, whose factor is always 1.
    constant = power.shape[-1]
    partials = functional.pad(torch.where(begins, constant, partials), (0, 1), value=constant)
    turns = (spectra[:, :-1] * earlier.conj()).sum(dim=2)
    size = turns.abs()
    turns = functional.pad(torch.where(size > SILENCE, turns / size, 1), (0, 1), value=1.0)
    rotations = [torch.ones_like(turns[:, 0])]
    for turn, partial in zip(turns.unbind(1), partials.unbind(1), strict=True):
        rotations.append((rotations[-1] * turn).gather(-1, partial))
    return torch.stack(rotations, dim=1)[..., :constant]


def _partials(power: Power) -> Int64[Tensor, "batch frame freq"]:
    """Index of the spectral peak uphill from each bin, at most 2**DOUBLINGS bins away."""
    edged = functional.pad(power, (1, 1), value=-1.0)
    left, right = edged[..., :-2], edged[..., 2:]
    up = ((right > power) & (right >= left)).long() - ((left > power) & (left > right)).long()
    up += torch.arange(power.shape[-1], device=power.device)
    for _ in range(DOUBLINGS):
        up = up.gather(-1, up)
    return up


def _power(spectra: Spectra) -> Power:
    """Power spectra, summed over the channels."""
    return (spectra.real.square() + spectra.imag.square()).sum(dim=2)
