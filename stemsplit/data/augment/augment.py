"""Augment the stems of a training batch on the device, before they are summed to the mixture."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from stemsplit.data.augment import speed
from stemsplit.data.augment.equaliser import band_centres, equalise
from stemsplit.data.augment.levels import with_snr
from stemsplit.data.augment.stretch import window_of, with_tempo_and_pitch
from stemsplit.errors import InputError
from stemsplit.models.shapes import Stems

GREATEST_GAIN = 100.0

Key = tuple[int, int]  # (epoch, position in the epoch)
Range = Sequence[float]


class Augment:
    """Random augmentation of stems.

    By default, only the gain changes and channels are swapped, as in open-unmix. Each stem is
    augmented independently, in the order of the list below. A setting such as `gain` is a range
    from which values are drawn uniformly.

    1. Tempo and pitch: with probability `tempo`, a tempo change in `tempo_percent`; with
       probability `pitch`, a pitch shift in `pitch_semitones`. If all stems come from the same
       excerpt (`remix` is false), they share both draws and stay synchronous and in tune.
    2. A linear gain in `gain`.
    3. With probability `polarity`, an inverted sign.
    4. With `swap_channels`, swapped channels with probability 0.5.
    5. With probability `mono`, the mean of the channels in every channel.
    6. With probability `equaliser`, gains in `equaliser_decibels` (dB) for bands of about an octave
       between the frequencies `equaliser_hertz`.

    Finally, the ratio of the targets' sum to the sum of the other stems is set to a value in
    `snr_decibels` (dB). If `snr_decibels` is None, the ratio is not changed.

    Every draw depends only on the seed and the excerpt's key, so it does not depend on the rest of
    the batch. A draw does not depend on the settings of other augmentations either. With
    `gain=[1.0, 1.0]`, `swap_channels=False` and all other defaults, the stems do not change.

    Raises `InputError` for values outside their ranges.
    """

    def __init__(
        self,
        seed: int,
        gain: Range = (0.25, 1.25),
        swap_channels: bool = True,
        polarity: float = 0.0,
        mono: float = 0.0,
        tempo: float = 0.0,
        tempo_percent: Range = (-12, 12),
        pitch: float = 0.0,
        pitch_semitones: Range = (-2, 2),
        equaliser: float = 0.0,
        equaliser_decibels: Range = (-6, 6),
        equaliser_hertz: Range = (60, 12000),
        snr_decibels: Range | None = None,
        remix: bool = True,
        sample_rate: int = 44100,
    ) -> None:
        check_range("gain", gain, 0, GREATEST_GAIN)
        probabilities = {"polarity": polarity, "mono": mono, "tempo": tempo, "pitch": pitch}
        for name, probability in {**probabilities, "equaliser": equaliser}.items():
            if not 0 <= probability <= 1:
                raise InputError(f"augment.{name} is {probability}, but must be from 0 to 1")
        check_range("tempo_percent", tempo_percent, -50, 100)
        check_range("pitch_semitones", pitch_semitones, -12, 12)
        check_range("equaliser_decibels", equaliser_decibels, -60, 60)
        check_range("equaliser_hertz", equaliser_hertz, 1, math.inf)
        if snr_decibels is not None:
            check_range("snr_decibels", snr_decibels, -100, 100)
        if 2 * equaliser_hertz[0] > min(equaliser_hertz[1], sample_rate / 2):
            raise InputError(
                f"augment.equaliser_hertz {list(equaliser_hertz)}: the part below "
                f"{sample_rate / 2:g} Hz, half the sample rate, must be at least one octave wide; "
                "choose a lower first frequency"
            )
        self.seed = seed
        self.gain = gain
        self.swap_channels = swap_channels
        self.polarity = polarity
        self.mono = mono
        self.tempo = tempo
        self.tempo_percent = tempo_percent
        self.pitch = pitch
        self.pitch_semitones = pitch_semitones
        self.equaliser = equaliser
        self.equaliser_decibels = equaliser_decibels
        self.equaliser_hertz = equaliser_hertz
        self.snr_decibels = snr_decibels
        self.remix = remix
        self.sample_rate = sample_rate
        self.window = window_of(sample_rate)

    def read_length(self, chunk: int) -> int:
        """Number of samples to read from a song for a chunk of `chunk` samples.

        With changes of tempo or pitch, this is the number of samples for the fastest tempo, plus
        one window of the phase vocoder as context at either end.
        """
        if not self.tempo and not self.pitch:
            return chunk
        fastest = 1 + max(0, self.tempo_percent[1]) / 100 if self.tempo else 1
        return math.ceil(chunk * fastest) + 2 * self.window

    def __call__(
        self,
        stems: Stems,
        keys: Sequence[Key],
        chunk: int | None = None,
        targets: Sequence[int] = (),
    ) -> Float[Tensor, "batch stem channel _"]:
        """Augment excerpts of `read_length(chunk)` samples and cut them to `chunk` samples.

        If `chunk` is None, it is the length of `stems`. `targets` are the indices of the estimated
        stems. Raises `InputError` if `snr_decibels` is set and all or none of the stems are
        targets.
        """
        chunk = stems.shape[-1] if chunk is None else chunk
        if stems.shape[-1] != self.read_length(chunk):
            raise ValueError(
                f"a chunk of {chunk} samples needs excerpts of {self.read_length(chunk)} samples "
                f"(see read_length), but they have {stems.shape[-1]}"
            )
        count = stems.shape[1]
        if self.tempo or self.pitch:
            stems = self._with_tempo_and_pitch(stems, keys, chunk)
        draws = self._draws(1, keys)
        gains = between(self.gain, draws, count)
        if self.polarity:
            gains[chance(self.polarity, self._draws(2, keys), count)] *= -1
        stems = stems * torch.from_numpy(gains).to(stems)[:, :, None, None]
        if self.swap_channels:
            swap = torch.from_numpy(chance(0.5, draws, count)).to(stems.device)[:, :, None, None]
            stems = torch.where(swap, stems.flip(2), stems)
        # The stems are a copy from here on, so in-place operations are safe.
        if self.mono:
            places = np.nonzero(chance(self.mono, self._draws(3, keys), count))
            stems[places] = stems[places].mean(dim=1, keepdim=True)
        if self.equaliser:
            draws = self._draws(6, keys)
            places = np.nonzero(chance(self.equaliser, draws, count))
            bands = len(band_centres(self.equaliser_hertz))
            decibels = between(self.equaliser_decibels, draws, count, bands)[places]
            if len(decibels):
                stems[places] = equalise(
                    stems[places], decibels, self.equaliser_hertz, self.sample_rate
                )
        if self.snr_decibels is not None:
            if not 0 < len(targets) < count:
                raise InputError(
                    f"augment.snr_decibels {list(self.snr_decibels)} is a ratio of the targets to "
                    f"the other stems, but {len(targets)} of {count} stems are targets; set it to "
                    "null"
                )
            stems = with_snr(stems, targets, between(self.snr_decibels, self._draws(7, keys)))
        return stems

    def _with_tempo_and_pitch(
        self, stems: Stems, keys: Sequence[Key], chunk: int
    ) -> Float[Tensor, "batch stem channel _"]:
        """Change tempo and pitch of the drawn stems, and cut all stems to `chunk` samples."""
        count = stems.shape[1] if self.remix else 1
        draws = self._draws(4, keys)
        chosen = chance(self.tempo, draws, count)
        tempos = np.where(chosen, 1 + between(self.tempo_percent, draws, count) / 100, 1.0)
        draws = self._draws(5, keys)
        chosen = chance(self.pitch, draws, count)
        pitches = 2 ** (between(self.pitch_semitones, draws, count) / 12)
        pitches = np.where(chosen, speed.nearest(pitches), 1.0)
        tempos, pitches = (np.broadcast_to(each, stems.shape[:2]) for each in (tempos, pitches))
        result = stems[..., self.window : self.window + chunk].clone()
        changed = np.nonzero((tempos != 1) | (pitches != 1))
        if changed[0].size:
            result[changed] = with_tempo_and_pitch(
                stems[changed],
                tempos=tempos[changed],
                pitches=pitches[changed],
                start=self.window,
                time=chunk,
                window=self.window,
            )
        return result

    def _draws(self, stream: int, keys: Sequence[Key]) -> list[np.random.Generator]:
        """Return one random generator per key, for the augmentation with the number `stream`.

        Generators of different streams are independent. They are also independent of the generator
        that chooses the excerpts.
        """
        return [np.random.default_rng([self.seed, *key, stream]) for key in keys]


def check_range(name: str, limits: Range, least: float, most: float) -> None:
    """Raise `InputError` unless `limits` are two ascending numbers from `least` to `most`."""
    pair = list(limits) if isinstance(limits, Sequence) else [limits]
    if len(pair) != 2 or not least <= pair[0] <= pair[1] <= most:
        raise InputError(
            f"augment.{name} {limits} must be [least, most], both from {least:g} to {most:g}"
        )


def chance(
    probability: float, draws: Sequence[np.random.Generator], stems: int
) -> Bool[np.ndarray, "batch stem"]:
    """True with this probability, independently for every stem."""
    return np.stack([draw.random(stems) < probability for draw in draws])


def between(
    limits: Range, draws: Sequence[np.random.Generator], *shape: int
) -> Float[np.ndarray, "batch ..."]:
    """Draw numbers uniformly within the limits: for every example, an array of this shape."""
    low, high = limits
    return np.stack([draw.uniform(low, high, shape) for draw in draws])
