"""The singing of the demo songs: a glottal source, filtered by a time-varying vocal tract.

The source and the filter are from Klatt (1980) and Klatt & Klatt (1990). The glottal pulses and the
noise of breath and consonants are filtered in the short-time Fourier domain, where a time-varying
filter is a multiplication.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import istft, stft

from stemsplit.data.corpora.synthesis.articulation import (
    HOP,
    WINDOW,
    Articulation,
    articulate,
    frames_between,
    smooth,
)
from stemsplit.data.corpora.synthesis.composition import Note
from stemsplit.data.corpora.synthesis.sound import (
    SAMPLE_RATE,
    TABLE,
    Signal,
    hertz,
    in_room,
    noise,
    oscillate,
    pan,
    period,
    samples,
    swept_cycles,
)

Spectrum = NDArray[np.complex64]  # (freq, frame)

TOP_HZ = 16_000.0  # highest frequency of a harmonic of the voice
BANDWIDTHS_HZ = (70.0, 100.0, 150.0)  # of the first three formants
TUBE_FORMANTS_HZ = (500.0, 1500.0, 2500.0)  # first formants of a uniform tube of 17.5 cm
TUBE_BANDWIDTH_HZ = 400.0
# Lowest pitch (MIDI) and factor of all formant frequencies. A shorter vocal tract has a larger
# factor.
RANGES = {"bass": (40, 0.95), "tenor": (47, 1.0), "alto": (54, 1.13), "soprano": (59, 1.17)}


@dataclass(frozen=True)
class Voice:
    """The parameters of a singer."""

    lowest_pitch: int  # MIDI
    tract: float  # factor of all formants
    vibrato_hz: float
    vibrato_semitones: float
    open_quotient: float  # share of a period with open glottis; a larger share sounds softer
    tilt_hz: float  # the source falls by a further 6 dB per octave above this frequency
    breathiness: float
    glide_seconds: float


def draw_voice(name: str, generator: np.random.Generator) -> Voice:
    """Draw a singer with the range `name`: bass, tenor, alto or soprano."""
    lowest_pitch, tract = RANGES[name]
    return Voice(
        lowest_pitch=lowest_pitch + int(generator.integers(3)),
        tract=tract * generator.uniform(0.96, 1.04),
        vibrato_hz=generator.uniform(4.8, 6.3),
        vibrato_semitones=generator.uniform(0.2, 0.6),
        open_quotient=generator.uniform(0.5, 0.75),
        tilt_hz=generator.uniform(1500.0, 4000.0),
        breathiness=generator.uniform(0.02, 0.07),
        glide_seconds=generator.uniform(0.06, 0.13),
    )


def sing(
    melody: Sequence[Note], seconds: float, voice: Voice, generator: np.random.Generator
) -> Signal:
    """Sing the melody with random syllables in a small room. The result is in stereo."""
    length = samples(seconds)
    frames = -(-length // HOP) + 1
    frame_hz = hertz(_intonation(melody, frames, voice, generator))
    cycles = swept_cycles(np.interp(np.arange(length), HOP * np.arange(frames), frame_hz))
    mouth = articulate(melody, frames, voice.breathiness, generator)
    tract = _tract(mouth, frame_hz, voice)

    pulses = _spectrum(oscillate(_glottal_period(voice, float(frame_hz.max())), cycles))
    # The glottis modulates the breath noise in every period.
    puffs = (0.6 + 0.4 * np.sin(2.0 * np.pi * cycles)).astype(np.float32)
    breath = _spectrum(noise(generator, length) * puffs)
    tract *= _evenness(pulses, tract)
    sung = pulses * (tract * mouth.voicing) + breath * (tract * mouth.aspiration + mouth.hiss)
    dry = istft(sung, SAMPLE_RATE, nperseg=WINDOW, noverlap=WINDOW - HOP)[1][:length]
    return in_room(pan(np.asarray(dry, np.float32), 0.0), generator, 0.35, 0.15)


def _intonation(
    melody: Sequence[Note], frames: int, voice: Voice, generator: np.random.Generator
) -> NDArray[np.float64]:
    """MIDI pitch of each frame: glides, a rise to each note after a rest, vibrato and drift."""
    pitch = np.full(frames, float(voice.lowest_pitch + 7))
    vibrato = np.zeros(frames)
    silent_since = 0.0
    for note in melody:
        pitch[frames_between(silent_since, note.start_seconds)] = note.pitch - 1.2
        sung = frames_between(note.start_seconds, note.stop_seconds)
        pitch[sung.start :] = note.pitch
        elapsed = np.arange(sung.stop - sung.start) * HOP / SAMPLE_RATE
        # The vibrato starts after 0.25 s and ends before the next note.
        depth = np.clip((elapsed - 0.25) / 0.4, 0.0, 1.0)
        depth *= np.clip((note.seconds - elapsed) / 0.08, 0.0, 1.0)
        wave = np.sin(2.0 * np.pi * voice.vibrato_hz * elapsed + generator.uniform(0.0, 6.0))
        vibrato[sung] = voice.vibrato_semitones * depth * wave
        silent_since = note.stop_seconds
    drift = 0.25 * smooth(generator.standard_normal(frames), 0.15)
    return smooth(pitch, voice.glide_seconds) + vibrato + drift


def _glottal_period(voice: Voice, highest_hz: float) -> Signal:
    """One period of the derivative of the glottal flow (KLGLOTT88), with unit power.

    The derivative models the radiation at the lips. The period has no harmonic above `TOP_HZ` at
    the highest sung frequency, `highest_hz`.
    """
    phase = np.arange(TABLE) / TABLE / voice.open_quotient
    pulse = np.where(phase < 1.0, 2.0 * phase - 3.0 * phase**2, 0.0)
    harmonics = 1j * np.fft.rfft(pulse)[1 : int(TOP_HZ / highest_hz) + 1]
    tilt_harmonic = voice.tilt_hz / hertz(voice.lowest_pitch + 7.0)
    harmonics /= 1.0 + 1j * np.arange(1, len(harmonics) + 1) / tilt_harmonic
    return period(harmonics / np.sqrt(0.5 * np.sum(np.abs(harmonics) ** 2)))


def _tract(mouth: Articulation, frame_hz: NDArray[np.float64], voice: Voice) -> Spectrum:
    """Frequency response (freq, frame) of the vocal tract, a cascade of formants."""
    formants = voice.tract * mouth.formants_hz
    # Singers raise the first formant if the pitch would exceed it (Sundberg 1975).
    formants[0] = np.maximum(formants[0], 1.05 * frame_hz)
    formants[1] = np.maximum(formants[1], formants[0] + 200.0)
    frequency = np.fft.rfftfreq(WINDOW, 1.0 / SAMPLE_RATE).astype(np.float32)[:, None]
    # Start with all formants of a uniform tube. Then replace the first three by the formants of the
    # vowel, and keep the upper ones.
    spacing_hz = 1000.0 * voice.tract
    half_wave = np.pi * (0.5 * TUBE_BANDWIDTH_HZ + 1j * frequency) / spacing_hz
    response = (1.0 / np.cosh(half_wave)).astype(np.complex64)
    for formant_hz in TUBE_FORMANTS_HZ:
        response /= _resonance(frequency, voice.tract * formant_hz, TUBE_BANDWIDTH_HZ)
    for track, bandwidth_hz in zip(formants, BANDWIDTHS_HZ, strict=True):
        response = response * _resonance(frequency, track, bandwidth_hz)
    return response


def _resonance(frequency: Signal, formant_hz: Signal | float, bandwidth_hz: float) -> Spectrum:
    """Frequency response of one formant; it is 1 at 0 Hz."""
    ratio = frequency / formant_hz
    width = np.float32(bandwidth_hz) / formant_hz
    return np.asarray(1.0 / (1.0 - ratio * (ratio - 1j * width)), np.complex64)


def _evenness(pulses: Spectrum, tract: Spectrum) -> Signal:
    """Gain of each frame that makes all vowels equally loud, like a compressor."""
    before, after = (
        smooth(np.sum(np.abs(spectrum) ** 2, axis=0, dtype=np.float64), 0.1)
        for spectrum in (pulses, pulses * tract)
    )
    return np.sqrt(before / after).astype(np.float32)


def _spectrum(sound: Signal) -> Spectrum:
    return np.asarray(stft(sound, SAMPLE_RATE, nperseg=WINDOW, noverlap=WINDOW - HOP)[2])
