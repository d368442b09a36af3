"""Augment the stems of a training batch on the device, before they are summed to a mixture."""

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

Key = tuple[int, int]
Range = Sequence[float]


class Augment:
    """Random gain of each stem, and its channels swapped half of the time (as open-unmix does).

    All else is off until it has a probability, or its range. Each stem by itself, in this order:
    `tempo` and `pitch` are the probabilities of a change by per cent and semitones within their
    ranges; gain; `polarity` is that of an inverted sign; swapped channels; `mono` is that of all
    channels becoming their mean; `equaliser` that of gains within a range of dB in bands an octave
    or so apart within a range of Hz. At last `snr_decibels` is the range of the level of the
    targets' sum above the sum of the rest (None: as it comes). Where the stems are of one excerpt
    (`remix` is false) they share tempo and pitch, so they stay in time and in tune.

    A draw is a function of the seed and of the excerpt's key alone, and each augmentation draws
    from a stream of its own, so neither the rest of the batch nor another augmentation changes it.
    With a gain range of `[1.0, 1.0]` and no swapping the stems pass unchanged.
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
                raise InputError(f"augment.{name} {probability} is no probability: choose 0 to 1")
        check_range("tempo_percent", tempo_percent, -50, 100)
        check_range("pitch_semitones", pitch_semitones, -12, 12)
        check_range("equaliser_decibels", equaliser_decibels, -60, 60)
        check_range("equaliser_hertz", equaliser_hertz, 1, math.inf)
        if snr_decibels is not None:
            check_range("snr_decibels", snr_decibels, -100, 100)
        if 2 * equaliser_hertz[0] > min(equaliser_hertz[1], sample_rate / 2):
            raise InputError(
                f"augment.equaliser_hertz {list(equaliser_hertz)} must span an octave or more of "
                f"what a sample rate of {sample_rate} Hz holds: begin lower"
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
        """How many samples of a song are read for a chunk.

        Where tempo or pitch change it is as many as the fastest tempo takes, and a window more at
        either end, which is only looked at.
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
        """Excerpts of `read_length(chunk)` samples → chunks of `chunk` (None: as many as given).

        `targets` numbers those of the stems that are estimated.
        """
        chunk = stems.shape[-1] if chunk is None else chunk
        if stems.shape[-1] != self.read_length(chunk):
            raise ValueError(
                f"chunks of {chunk} samples are made of {self.read_length(chunk)}, not of "
                f"{stems.shape[-1]}: read as many as read_length says"
            )
        count = stems.shape[1]
        if self.tempo or self.pitch:
            stems = self._played(stems, keys, chunk)
        # Beside the chunks' own draws of (seed, epoch, position): one number more.
        draws = self._draws(1, keys)
        gains = between(self.gain, draws, count)
        if self.polarity:
            gains[chance(self.polarity, self._draws(2, keys), count)] *= -1
        stems = stems * torch.from_numpy(gains).to(stems)[:, :, None, None]
        if self.swap_channels:
            swap = torch.from_numpy(chance(0.5, draws, count)).to(stems.device)[:, :, None, None]
            stems = torch.where(swap, stems.flip(2), stems)
        # From here on the stems are a copy, which may change where it lies.
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
                    f"augment.snr_decibels {list(self.snr_decibels)} is a level beside the rest, "
                    f"but {len(targets)} of {count} stems are targets: set it to null"
                )
            stems = with_snr(stems, targets, between(self.snr_decibels, self._draws(7, keys)))
        return stems

    def _played(
        self, stems: Stems, keys: Sequence[Key], chunk: int
    ) -> Float[Tensor, "batch stem channel _"]:
        """Stems at their own tempo and pitch, or cut to where these begin."""
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
                stems[changed], tempos[changed], pitches[changed], self.window, chunk, self.window
            )
        return result

    def _draws(self, stream: int, keys: Sequence[Key]) -> list[np.random.Generator]:
        return [np.random.default_rng([self.seed, *key, stream]) for key in keys]


def check_range(name: str, given: Range, least: float, most: float) -> None:
    pair = list(given) if isinstance(given, Sequence) else [given]
    if len(pair) != 2 or not least <= pair[0] <= pair[1] <= most:
        raise InputError(
            f"augment.{name} {given} must be [least, most], both from {least:g} to {most:g}"
        )


def chance(
    probability: float, draws: Sequence[np.random.Generator], stems: int
) -> Bool[np.ndarray, "batch stem"]:
    return np.stack([draw.random(stems) < probability for draw in draws])


def between(
    limits: Range, draws: Sequence[np.random.Generator], *shape: int
) -> Float[np.ndarray, "batch ..."]:
    low, high = limits
    return np.stack([draw.uniform(low, high, shape) for draw in draws])
