"""The bass and the chord instruments of the demo songs."""

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from stemsplit.data.corpora.synthesis.composition import BEATS, Composition
from stemsplit.data.corpora.synthesis.sound import (
    Signal,
    decay,
    edges,
    hertz,
    in_room,
    oscillate,
    period,
    place,
    samples,
    steady_cycles,
)

TOP_HZ = 15_000.0  # highest frequency of a harmonic, to avoid aliasing


@dataclass(frozen=True)
class Timbre:
    """The timbre of an instrument: a dull tone, plus a bright tone that decays faster."""

    slope: float  # the amplitude of harmonic k is 1 / k**slope
    corner_hz: float  # the dull tone falls by a further 12 dB per octave above this frequency
    attack_seconds: float
    release_seconds: float
    ring_seconds: float | None = None  # time in which C4 decays by 60 dB; None for sustained notes
    brightness: float = 0.0  # amplitude of the bright tone at the start of the note
    bright_seconds: float = 0.3  # time in which the bright tone decays by 60 dB
    even: float = 1.0  # gain of the even harmonics; 0 sounds hollow like a clarinet
    detune_cents: float = 0.0  # detuning of the side oscillators: left down, right up


SUSTAINED = (
    Timbre(1.0, 1400.0, 0.18, 0.35, detune_cents=9.0),  # string machine
    Timbre(1.0, 2600.0, 0.08, 0.25, detune_cents=6.0),  # bright pad
    Timbre(1.6, 2200.0, 0.12, 0.30, detune_cents=5.0, even=0.1),  # hollow pad
    Timbre(1.2, 3500.0, 0.02, 0.06, detune_cents=2.0, even=0.6),  # organ
)
STRUCK = (
    Timbre(2.2, 1800.0, 0.004, 0.12, 2.5, 0.25, 0.25, detune_cents=2.0),  # electric piano
    Timbre(1.4, 1500.0, 0.003, 0.08, 1.6, 0.6, 0.5, detune_cents=1.5),  # guitar
    Timbre(1.1, 3000.0, 0.003, 0.05, 1.0, 0.5, 0.3, detune_cents=1.0),  # harpsichord, koto
    Timbre(2.0, 4000.0, 0.003, 0.10, 0.9, 0.3, 0.08, even=0.05),  # marimba, kalimba
)
BASSES = (
    Timbre(1.2, 350.0, 0.006, 0.05, 2.5, 0.25, 0.4),  # finger
    Timbre(1.0, 450.0, 0.008, 0.06, None, 0.3, 0.5),  # saw synthesiser
    Timbre(1.1, 600.0, 0.005, 0.05, 1.8, 0.5, 0.25),  # pick
    Timbre(1.8, 500.0, 0.010, 0.06, None, 0.1, 0.3, even=0.2),  # round, sub
)
# A bar in eighths: r root, f fifth, o octave, . the note continues, - silence.
BASS_LINES = ("rrrrrrrr", "r..r..rf", "r.....f.", "r.o.r.o.", "r-.r..fo", "r..-r.r.")
# A bar of struck chords in eighths: x a new chord, . the chord continues.
STRUMS = ("x...x...", "x..x..x.", "x.......", "..x...x.", "x.xx.xx.")


@lru_cache(maxsize=1024)
def _periods(timbre: Timbre, frequency_hz: float) -> tuple[Signal, Signal]:
    """One period of the dull tone and of the bright tone, which has no fundamental."""
    harmonic = np.arange(1, max(2, int(TOP_HZ / frequency_hz) + 1))
    amplitude = harmonic**-timbre.slope * np.where(harmonic % 2, 1.0, timbre.even)
    dull = amplitude / (1.0 + (harmonic * frequency_hz / timbre.corner_hz) ** 2)
    bright = np.where(harmonic > 1, harmonic**-0.8 - dull, 0.0)
    bright /= 1.0 + (harmonic * frequency_hz / (4.0 * timbre.corner_hz)) ** 2
    return period(dull), period(bright)


def note(timbre: Timbre, pitch: float, seconds: float) -> Signal:
    """One stereo note from an oscillator in the centre and a detuned oscillator at each side.

    `pitch` is a MIDI pitch. The release begins after `seconds`, so the note is longer.
    """
    length = samples(seconds + timbre.release_seconds)
    frequency = float(hertz(pitch))
    dull, bright = _periods(timbre, frequency)
    cents = timbre.detune_cents * np.array([[0.0, -1.0], [0.0, 1.0]])
    cycles = steady_cycles(frequency * 2.0 ** (cents / 1200.0), length)  # channel, oscillator, time
    cycles += np.array([[0.0, 0.31], [0.0, 0.47]])[..., None]
    if not timbre.detune_cents:
        cycles = cycles[:1, :1]
    sound = oscillate(dull, cycles)
    if timbre.brightness:
        strike = timbre.brightness * decay(length, timbre.bright_seconds)
        sound += strike * oscillate(bright, cycles)
    if timbre.ring_seconds:
        # Low notes decay more slowly.
        sound *= decay(length, timbre.ring_seconds * 2.0 ** ((60.0 - pitch) / 24.0))
    sound *= edges(length, timbre.attack_seconds, timbre.release_seconds)
    return np.broadcast_to(sound.mean(axis=1), (2, length))


def bass(composition: Composition, generator: np.random.Generator) -> Signal:
    """A bass line in eighths on the roots of the chords, from E1 upwards."""
    timbre = BASSES[generator.integers(len(BASSES))]
    line = BASS_LINES[generator.integers(len(BASS_LINES))]
    track = np.zeros((2, samples(composition.seconds)), np.float32)
    for bar, chord in enumerate(composition.chords):
        root = 28.0 + (chord[0] - 28) % 12
        pitches = {"r": root, "f": root + 7, "o": root + 12}
        for kind, beat, beats in _strokes(_sustain_last_bar(line, bar, composition)):
            sound = note(timbre, pitches[kind], 0.92 * beats * composition.beat_seconds)
            place(track, sound * generator.uniform(0.8, 1.0), composition.at(bar, beat))
    return in_room(track, generator, 0.15, 0.08)


def chords(composition: Composition, generator: np.random.Generator) -> Signal:
    """Sustained chords, combined with struck chords or an arpeggio, in a wide room."""
    track = np.zeros((2, samples(composition.seconds)), np.float32)
    sustained = SUSTAINED[generator.integers(len(SUSTAINED))]
    struck = STRUCK[generator.integers(len(STRUCK))]
    centre = float(generator.uniform(59.0, 65.0))
    _sustain(track, composition, sustained, centre)
    if generator.random() < 0.5:
        _arpeggiate(track, composition, struck, centre + 7.0, generator)
    else:
        _strum(track, composition, struck, centre + 3.0, generator)
    return in_room(track, generator, 0.7, 0.25)


def _sustain(track: Signal, composition: Composition, timbre: Timbre, centre: float) -> None:
    for bar, chord in enumerate(composition.chords):
        for pitch in _voicing(chord, centre):
            seconds = composition.beat_seconds * BEATS
            place(track, 0.3 * note(timbre, pitch, seconds), composition.at(bar))


def _strum(
    track: Signal,
    composition: Composition,
    timbre: Timbre,
    centre: float,
    generator: np.random.Generator,
) -> None:
    strum = STRUMS[generator.integers(len(STRUMS))]
    spread_seconds = generator.uniform(0.002, 0.018)
    side = generator.choice([-0.4, 0.4])
    for bar, chord in enumerate(composition.chords):
        for _, beat, beats in _strokes(_sustain_last_bar(strum, bar, composition)):
            force = generator.uniform(0.35, 0.5)
            for string, pitch in enumerate(_voicing(chord, centre)):
                sound = note(timbre, pitch, beats * composition.beat_seconds)
                sound = force * _balance(sound, side + 0.1 * string)
                place(track, sound, composition.at(bar, beat) + string * spread_seconds)


def _arpeggiate(
    track: Signal,
    composition: Composition,
    timbre: Timbre,
    centre: float,
    generator: np.random.Generator,
) -> None:
    steps_per_beat = int(generator.choice([2, 2, 4] if composition.beats_per_minute < 110 else [2]))
    downwards = generator.random() < 0.3
    for bar, chord in enumerate(composition.chords[:-1]):
        rungs = _voicing(chord, centre)
        rungs = [*rungs, rungs[0] + 12]
        order = rungs[::-1] if downwards else [*rungs, *rungs[-2:0:-1]]
        for step in range(BEATS * steps_per_beat):
            sound = note(timbre, order[step % len(order)], 1.5 * composition.beat_seconds)
            sound = generator.uniform(0.4, 0.55) * _balance(sound, 0.6 if step % 2 else -0.6)
            place(track, sound, composition.at(bar, step / steps_per_beat))


def _voicing(chord: tuple[int, ...], centre: float) -> list[float]:
    """Move each pitch to the octave around the centre, so successive chords are close together."""
    low = round(centre) - 6
    return sorted(float(low + (pitch - low) % 12) for pitch in chord)


def _balance(sound: Signal, position: float) -> Signal:
    """Set the balance of a stereo sound: -1 is left, +1 is right."""
    gains = np.sqrt(np.clip([[1.0 - position], [1.0 + position]], 0.0, 2.0))
    return sound * gains.astype(np.float32)


def _sustain_last_bar(line: str, bar: int, composition: Composition) -> str:
    """Return the line. For the last bar, only its first stroke remains and fills the whole bar."""
    return line if bar < composition.bars - 1 else line[0].replace(".", "x") + "." * (len(line) - 1)


def _strokes(line: str) -> list[tuple[str, float, float]]:
    """Convert a line of eighths to strokes (kind, start in beats, length in beats)."""
    return [
        (stroke.group()[0], stroke.start() / 2, len(stroke.group()) / 2)
        for stroke in re.finditer(r"[^.-]\.*", line)
    ]
