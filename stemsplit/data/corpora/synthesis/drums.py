"""The drums of the demo songs: a synthesised drum kit and its grooves."""

from dataclasses import dataclass

import numpy as np

from stemsplit.data.corpora.synthesis.composition import BEATS, Composition
from stemsplit.data.corpora.synthesis.sound import (
    Signal,
    decay,
    edges,
    highpass,
    in_room,
    lowpass,
    noise,
    pan,
    place,
    samples,
    swept_cycles,
)

STEPS = 4 * BEATS  # sixteenths in a bar


@dataclass(frozen=True)
class Groove:
    """A bar in sixteenths: x a stroke, - a quiet stroke, o an open hi-hat, . nothing."""

    kick: str
    snare: str
    hat: str


GROOVES = (
    Groove("x.......x.x.....", "....x.......x...", "x.x.x.x.x.x.x.x."),
    Groove("x...x...x...x...", "....x.......x...", "..o...o...o...o."),
    Groove("x..x......x..x..", "....x..-.-..x..-", "x-x-x-x-x-x-x-o-"),
    Groove("x......x..x.....", "........x......-", "x.-.x.-.x.-.x.o."),
    Groove("x.....x.x.......", "....x.......x...", "x...x...x...x.-."),
    Groove("x..x..x.x..x..x.", "....x.......x..-", "x.x.x.o.x.x.x.o."),
)
FILLS = ("s.s.t.u.", "..sstuuv", "t.tu.uv.", "....ssss")  # s snare; t, u, v toms, high to low
LOUDNESS = {"x": 1.0, "o": 0.9, "-": 0.3}


@dataclass(frozen=True)
class Kit:
    """The drums of one song: frequencies in hertz and decay times in seconds."""

    kick_hz: float
    kick_seconds: float
    snare_hz: float
    snare_seconds: float
    hat_hz: float
    swing: float  # delay of every second sixteenth, in sixteenths


def drums(composition: Composition, generator: np.random.Generator) -> Signal:
    """The drums of a song, in stereo."""
    groove = GROOVES[generator.integers(len(GROOVES))]
    kit = Kit(
        kick_hz=generator.uniform(42.0, 58.0),
        kick_seconds=generator.uniform(0.25, 0.5),
        snare_hz=generator.uniform(165.0, 230.0),
        snare_seconds=generator.uniform(0.18, 0.35),
        hat_hz=generator.uniform(6000.0, 8500.0),
        swing=generator.choice([0.0, 0.0, 0.15, 0.3]),
    )
    track = np.zeros((2, samples(composition.seconds)), np.float32)
    for bar in range(composition.bars - 1):
        for step, (kick, snare, hat) in enumerate(_bar(groove, bar, composition.bars, generator)):
            delay = kit.swing * (step % 2) + generator.uniform(0.0, 0.03)  # imprecise timing
            start = composition.at(bar, (step + delay) * BEATS / STEPS)
            accent = generator.uniform(0.85, 1.0)
            if kick in LOUDNESS:
                place(track, _kick(kit, generator) * accent, start)
            if snare in LOUDNESS:
                place(track, _snare(kit, generator) * LOUDNESS[snare] * accent, start)
            elif snare in "tuv":
                place(track, _tom(kit, "vut".index(snare)) * accent, start)
            if hat in LOUDNESS:
                place(track, _hat(kit, hat == "o", generator) * LOUDNESS[hat] * accent, start)
        if bar % 4 == 0:
            place(track, _crash(generator), composition.at(bar))
    last = composition.at(composition.bars - 1)
    place(track, _kick(kit, generator), last)
    place(track, _crash(generator), last)
    # tanh limits the peaks softly, as on a drum bus. Without this limit, the peaks of the drums
    # would keep the level of the whole song low.
    return in_room(np.tanh(track), generator, 0.4, 0.2)


def _bar(
    groove: Groove, bar: int, bars: int, generator: np.random.Generator
) -> list[tuple[str, str, str]]:
    """The sixteenths of a bar as (kick, snare or tom, hat).

    Every fourth bar and the last bar but one end with a fill.
    """
    snare, hat = groove.snare, groove.hat
    if bar % 4 == 3 or bar == bars - 2:
        fill = FILLS[generator.integers(len(FILLS))].replace("s", "x")
        snare, hat = snare[: -len(fill)] + fill, hat[: -len(fill)] + "." * len(fill)
    return list(zip(groove.kick, snare, hat, strict=True))


def _drumhead(frequency_hz: float, drop: float, drop_seconds: float, ring_seconds: float) -> Signal:
    """A struck drumhead: a sine whose frequency falls to `frequency_hz`.

    The initial frequency is (1 + `drop`) × `frequency_hz`; the excess decays by 60 dB in
    `drop_seconds`.
    """
    length = samples(ring_seconds)
    sweep = frequency_hz * (1.0 + drop * decay(length, drop_seconds))
    tone = np.sin(2.0 * np.pi * swept_cycles(sweep)).astype(np.float32)
    return tone * decay(length, 1.2 * ring_seconds) * edges(length, 0.001, 0.05)


def _kick(kit: Kit, generator: np.random.Generator) -> Signal:
    skin = _drumhead(kit.kick_hz, 4.0, 0.12, kit.kick_seconds)
    beater = noise(generator, samples(0.03)) * decay(samples(0.03), 0.015)
    skin[: len(beater)] += 0.25 * lowpass(beater, 5000.0)
    return pan(skin, 0.0)


def _snare(kit: Kit, generator: np.random.Generator) -> Signal:
    length = samples(kit.snare_seconds)
    wires = highpass(lowpass(noise(generator, length), 9000.0), 1200.0)
    skin = _drumhead(kit.snare_hz, 0.5, 0.04, kit.snare_seconds)
    stroke = 0.3 * wires * decay(length, kit.snare_seconds) + 0.5 * skin
    return pan(stroke * edges(length, 0.001, 0.03), 0.08)


def _tom(kit: Kit, height: int) -> Signal:
    """A tom; height 0 is the lowest tom. Lower toms are further to the right."""
    skin = _drumhead(85.0 * 1.35**height * kit.kick_hz / 50.0, 0.6, 0.15, 0.35)
    return pan(0.7 * skin, 0.5 - 0.5 * height)


def _hat(kit: Kit, is_open: bool, generator: np.random.Generator) -> Signal:
    length = samples(0.3 if is_open else 0.08)
    metal = highpass(noise(generator, length), kit.hat_hz)
    stroke = 0.16 * metal * decay(length, 0.4 if is_open else 0.1)
    return pan(stroke * edges(length, 0.001, 0.02), -0.35)


def _crash(generator: np.random.Generator) -> Signal:
    length = samples(1.8)
    wash = highpass(noise(generator, 2, length), 3500.0)
    return 0.14 * wash * decay(length, 2.0) * edges(length, 0.002, 0.4)
