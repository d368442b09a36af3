"""Compose a demo song: tempo, key, chords and a melody in the range of a voice."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

BEATS = 4  # in a bar
LEAD_IN_SECONDS = 0.3  # time before the first beat, for a consonant or breath
RING_OUT_SECONDS = 1.0  # time after the last bar, in which the reverberation decays

MODES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "minor": (0, 2, 3, 5, 7, 8, 10),
}
# Scale degrees of the roots of the chords, counted from 0; one chord per bar.
PROGRESSIONS = {
    "major": ((0, 4, 5, 3), (5, 3, 0, 4), (0, 5, 3, 4), (0, 2, 3, 4), (3, 4, 5, 0)),
    "mixolydian": ((0, 6, 3, 0), (0, 3, 6, 3), (0, 4, 6, 3)),
    "dorian": ((0, 3, 0, 3), (0, 2, 6, 3), (0, 6, 3, 0)),
    "minor": ((0, 5, 2, 6), (0, 3, 5, 4), (5, 6, 0, 0), (0, 6, 5, 6)),
}
# Phrases of two bars: the lengths of notes in beats; a negative length is a rest.
PHRASES = (
    (1, 0.5, 0.5, 1, 1, 2, -2),
    (-1, 0.5, 0.5, 0.5, 0.5, 1, 2.5, -1.5),
    (1.5, 0.5, 1, 1, 0.5, 0.5, 1.5, -1.5),
    (-0.5, 0.5, 1, 0.5, 0.5, 1.5, 1, 1.5, -1),
    (0.75, 0.25, 1, 1, -1, 0.5, 0.5, 2, -1),
    (2, 1, 1, -0.5, 0.5, 0.5, 0.5, 1, -1),
)
FORM = (0, 1, 0, 1, 0, 0, 1, 0)  # index of the phrase that is sung in each pair of bars
MELODY_STEPS = (-2, -1, -1, 0, 1, 1, 2)  # scale degrees; small steps are more frequent


class Note(NamedTuple):
    """A note of the melody. `pitch` is a MIDI pitch."""

    start_seconds: float
    seconds: float
    pitch: float

    @property
    def stop_seconds(self) -> float:
        return self.start_seconds + self.seconds


@dataclass(frozen=True)
class Scale:
    """A scale. `tonic` is a MIDI pitch, `intervals` are semitones above it."""

    tonic: int
    intervals: tuple[int, ...]

    def pitch(self, degree: int) -> int:
        """The MIDI pitch of a degree, counted from 0; it may lie outside the first octave."""
        octave, step = divmod(degree, len(self.intervals))
        return self.tonic + 12 * octave + self.intervals[step]


@dataclass(frozen=True)
class Composition:
    """The tempo, chords and melody of a song."""

    beats_per_minute: float
    chords: tuple[tuple[int, ...], ...]  # for each bar, the MIDI pitches of its chord, root first
    melody: tuple[Note, ...]

    @property
    def beat_seconds(self) -> float:
        return 60.0 / self.beats_per_minute

    @property
    def bars(self) -> int:
        return len(self.chords)

    @property
    def seconds(self) -> float:
        return self.at(self.bars) + RING_OUT_SECONDS

    def at(self, bar: int, beat: float = 0.0) -> float:
        """The time in seconds of a beat of a bar; both are counted from 0."""
        return LEAD_IN_SECONDS + (bar * BEATS + beat) * self.beat_seconds


def compose(
    generator: np.random.Generator, lowest_pitch: int, seconds: float | None
) -> Composition:
    """Compose a song of about `seconds` seconds (None: 20 to 30).

    The melody lies within the 14 semitones above `lowest_pitch`, a MIDI pitch.
    """
    beats_per_minute = float(generator.uniform(80.0, 140.0))
    bars = _bars(generator, BEATS * 60.0 / beats_per_minute, seconds)
    mode = str(generator.choice(list(MODES)))
    scale = Scale(int(generator.integers(48, 60)), MODES[mode])
    progression = PROGRESSIONS[mode][generator.integers(len(PROGRESSIONS[mode]))]
    roots = [progression[bar % len(progression)] for bar in range(bars - 1)] + [0]
    sevenths = generator.random() < 0.4
    degrees = [(root, root + 2, root + 4, root + 6)[: 4 if sevenths else 3] for root in roots]
    chords = tuple(tuple(scale.pitch(degree) for degree in chord) for chord in degrees)
    silent = Composition(beats_per_minute, chords, ())
    return Composition(
        beats_per_minute, chords, _melody(generator, silent, scale, roots, lowest_pitch)
    )


def _bars(generator: np.random.Generator, bar_seconds: float, seconds: float | None) -> int:
    around = LEAD_IN_SECONDS + RING_OUT_SECONDS
    if seconds is not None:
        return max(2, round((seconds - around) / bar_seconds))
    fitting = [bars for bars in (8, 12, 16) if 20.0 <= bars * bar_seconds + around <= 30.0]
    return int(generator.choice(fitting))


def _melody(
    generator: np.random.Generator,
    composition: Composition,
    scale: Scale,
    roots: list[int],
    lowest_pitch: int,
) -> tuple[Note, ...]:
    """A melody of two recurring phrases.

    On every second beat, and in long notes, the pitch is moved to the nearest note of the chord.
    """
    rhythms = [PHRASES[choice] for choice in generator.choice(len(PHRASES), 2, replace=False)]
    steps = [generator.choice(MELODY_STEPS, len(rhythm)) for rhythm in rhythms]
    ladder = [
        degree
        for degree in range(-28, 28)
        if lowest_pitch <= scale.pitch(degree) <= lowest_pitch + 14
    ]
    instrumental_bars = 2 if composition.bars >= 8 else 0
    notes = []
    for pair, first_bar in enumerate(range(instrumental_bars, composition.bars - 1, 2)):
        phrase = FORM[pair % len(FORM)]
        degree, beat = ladder[len(ladder) // 2], 0.0
        for length, step in zip(rhythms[phrase], steps[phrase], strict=True):
            if length > 0:
                degree = int(np.clip(degree + step, ladder[0], ladder[-1]))
                if beat % 2 == 0 or length >= 1.5:
                    root = roots[first_bar + int(beat // BEATS)]
                    in_chord = [rung for rung in ladder if (rung - root) % 7 in (0, 2, 4)]
                    degree = _nearest(in_chord, degree)
                start = composition.at(first_bar, beat)
                notes.append(
                    Note(start, length * composition.beat_seconds, float(scale.pitch(degree)))
                )
            beat += abs(length)
    return tuple(notes)


def _nearest(degrees: list[int], target: int) -> int:
    return min(degrees, key=lambda degree: abs(degree - target))
