"""Draw random syllables for the synthesised singer, as parameters of the voice in every frame.

The formants of the vowels are from Peterson & Barney (1952). The formants of the voiced consonants
are from Klatt (1980).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve1d

from stemsplit.data.corpora.synthesis.composition import Note
from stemsplit.data.corpora.synthesis.sound import SAMPLE_RATE

WINDOW, HOP = 1024, 256  # samples; frames are centred on multiples of the hop

# The first three formants of the vowels (ARPABET names) in hertz, averages of male voices.
VOWELS = {
    "iy": (270.0, 2290.0, 3010.0),
    "ih": (390.0, 1990.0, 2550.0),
    "eh": (530.0, 1840.0, 2480.0),
    "ae": (660.0, 1720.0, 2410.0),
    "aa": (730.0, 1090.0, 2440.0),
    "ao": (570.0, 840.0, 2410.0),
    "uh": (440.0, 1020.0, 2240.0),
    "uw": (300.0, 870.0, 2240.0),
    "ah": (640.0, 1190.0, 2390.0),
}
DIPHTHONGS = (("aa", "ih"), ("eh", "ih"), ("ao", "uh"), ("aa", "uh"))
# The first and the last vowel of a syllable; open vowels are more frequent.
NUCLEI = (*((vowel, vowel) for vowel in (*VOWELS, "aa", "ae")), *DIPHTHONGS)


class Murmur(NamedTuple):
    """A voiced consonant: its formants and its level relative to a vowel."""

    formants_hz: tuple[float, float, float]
    level: float
    seconds: float


class Hiss(NamedTuple):
    """A voiceless consonant: band-pass noise, preceded by silence (the closure) in a stop."""

    centre_hz: float
    width_hz: float
    level: float
    closure_seconds: float
    seconds: float


CONSONANTS: tuple[Murmur | Hiss, ...] = (
    Murmur((270.0, 1000.0, 2200.0), 0.35, 0.080),  # m
    Murmur((270.0, 1400.0, 2500.0), 0.35, 0.075),  # n
    Murmur((310.0, 1050.0, 2880.0), 0.50, 0.070),  # l
    Murmur((310.0, 1060.0, 1380.0), 0.50, 0.075),  # r
    Murmur((290.0, 610.0, 2150.0), 0.50, 0.080),  # w
    Murmur((260.0, 2070.0, 3020.0), 0.50, 0.070),  # y
    Hiss(7000.0, 1800.0, 0.60, 0.0, 0.110),  # s
    Hiss(3600.0, 1200.0, 0.60, 0.0, 0.115),  # sh
    Hiss(6000.0, 4500.0, 0.12, 0.0, 0.090),  # f
    Hiss(4500.0, 2200.0, 0.60, 0.045, 0.030),  # t
    Hiss(2000.0, 900.0, 0.60, 0.045, 0.035),  # k
    Hiss(1000.0, 900.0, 0.40, 0.045, 0.025),  # p
)


@dataclass(frozen=True)
class Articulation:
    """The parameters of the vocal tract and its sources for every frame."""

    formants_hz: NDArray[np.floating]  # (formant, frame)
    voicing: NDArray[np.floating]  # (frame): level of the glottal pulses
    aspiration: NDArray[np.floating]  # (frame): level of the breath noise of the glottis
    hiss: NDArray[np.floating]  # (freq, frame): magnitude of noise from teeth and lips


def articulate(
    melody: Sequence[Note], frames: int, breathiness: float, generator: np.random.Generator
) -> Articulation:
    """Draw a syllable for each note.

    The vowel starts with the note. Most syllables also have a consonant, which ends where the note
    starts. A tied note keeps the vowel of the previous note and has no consonant.
    """
    mouth = Articulation(
        formants_hz=np.tile(np.array([[500.0], [1500.0], [2500.0]]), frames),  # schwa, at rest
        voicing=np.zeros(frames),
        aspiration=np.zeros(frames),
        hiss=np.zeros((WINDOW // 2 + 1, frames)),
    )
    silent_since = 0.0
    nucleus = NUCLEI[0]
    for note in melody:
        rest_seconds = note.start_seconds - silent_since
        tied = rest_seconds < 0.01 and generator.random() < 0.2
        if not tied:
            nucleus = NUCLEI[generator.integers(len(NUCLEI))]
        if rest_seconds > 0.5:
            _inhale(mouth, note)
        _sustain(mouth, note, nucleus, generator.uniform(0.75, 1.0))
        if not tied and generator.random() < 0.9:
            _begin(mouth, note, CONSONANTS[generator.integers(len(CONSONANTS))])
        silent_since = note.stop_seconds
    voicing = smooth(mouth.voicing, 0.045)
    aspiration = smooth(mouth.aspiration, 0.030) + breathiness * voicing
    return Articulation(
        formants_hz=smooth(mouth.formants_hz, 0.080).astype(np.float32),
        voicing=voicing.astype(np.float32),
        aspiration=aspiration.astype(np.float32),
        hiss=smooth(mouth.hiss, 0.025).astype(np.float32),
    )


def _inhale(mouth: Articulation, note: Note) -> None:
    """Add a breath before the note."""
    inhaled = frames_between(note.start_seconds - 0.45, note.start_seconds - 0.15)
    mouth.aspiration[inhaled] = 0.05 * np.hanning(inhaled.stop - inhaled.start)


def _sustain(mouth: Articulation, note: Note, nucleus: tuple[str, str], level: float) -> None:
    """Set the vowels of a note."""
    turn = note.start_seconds + 0.6 * note.seconds
    mouth.formants_hz[:, frames_between(note.start_seconds, turn)] = _column(VOWELS[nucleus[0]])
    mouth.formants_hz[:, frames_between(turn, note.stop_seconds)] = _column(VOWELS[nucleus[1]])
    sung = frames_between(note.start_seconds, note.stop_seconds)
    swell = np.sin(np.pi * np.linspace(0.1, 1.0, sung.stop - sung.start))
    mouth.voicing[sung] = level * (0.7 + 0.3 * swell)


def _begin(mouth: Articulation, note: Note, consonant: Murmur | Hiss) -> None:
    """Put a consonant before the note. The consonant replaces the end of the previous note."""
    beat_seconds = note.start_seconds
    opening_seconds = beat_seconds - consonant.seconds
    sounding = frames_between(opening_seconds, beat_seconds)
    if isinstance(consonant, Murmur):
        mouth.formants_hz[:, sounding] = _column(consonant.formants_hz)
        mouth.voicing[sounding] = consonant.level
        return
    mouth.voicing[frames_between(opening_seconds - consonant.closure_seconds, beat_seconds)] = 0.0
    mouth.hiss[:, sounding] = _column(_band(consonant))
    if consonant.closure_seconds:  # after a stop, the voice starts late and breath precedes it
        late = frames_between(beat_seconds, beat_seconds + 0.025)
        mouth.voicing[late], mouth.aspiration[late] = 0.0, 0.1


def frames_between(start_seconds: float, stop_seconds: float) -> slice:
    """The frames between two times."""
    first, last = (round(s * SAMPLE_RATE / HOP) for s in (start_seconds, stop_seconds))
    return slice(max(first, 0), max(last, 0))


def smooth(track: NDArray[np.floating], seconds: float) -> NDArray[np.float64]:
    """Average over frames with a Hann window, because a mouth moves gradually."""
    window = np.hanning(max(3, round(seconds * SAMPLE_RATE / HOP)) + 2)
    return np.asarray(convolve1d(track, window / window.sum(), axis=-1, mode="nearest"))


def _band(burst: Hiss) -> NDArray[np.float64]:
    """Magnitude (freq) of a voiceless consonant."""
    frequency = np.fft.rfftfreq(WINDOW, 1.0 / SAMPLE_RATE)
    return burst.level * np.exp(-0.5 * ((frequency - burst.centre_hz) / burst.width_hz) ** 2)


def _column(values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(values, np.float64)[:, None]
