"""Building blocks of the synthesis: pitch, oscillator, note edges, panning, reverberation."""

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, oaconvolve, sosfilt

SAMPLE_RATE = 44_100
TABLE = 16_384  # samples in one stored period: read without interpolation, its error is inaudible

Signal = NDArray[np.float32]  # (time) or (channel, time), at SAMPLE_RATE


def samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def hertz(pitch: float | NDArray[np.floating]) -> NDArray[np.float64]:
    """Frequency of a MIDI pitch (69 is A4, 440 Hz; one unit is a semitone)."""
    return np.asarray(440.0 * 2.0 ** ((pitch - 69.0) / 12.0), np.float64)


def seconds_axis(length: int) -> Signal:
    return np.arange(length, dtype=np.float32) / np.float32(SAMPLE_RATE)


def period(amplitudes: NDArray[np.number]) -> Signal:
    """One period of a sum of sines: the fundamental and its harmonics, with these amplitudes."""
    spectrum = np.zeros(TABLE // 2 + 1, np.complex128)
    spectrum[1 : len(amplitudes) + 1] = -0.5j * TABLE * amplitudes
    return np.fft.irfft(spectrum, TABLE).astype(np.float32)


def oscillate(table: Signal, cycles: NDArray[np.floating]) -> Signal:
    """Read a stored period at a running phase, in cycles: band-limited, as the period is."""
    return table[(cycles * TABLE).astype(np.int64) & (TABLE - 1)]


def steady_cycles(frequency_hz: NDArray[np.floating], length: int) -> NDArray[np.float64]:
    """The running phase of a constant frequency, along a last axis; one row for each frequency."""
    return np.multiply.outer(frequency_hz, np.arange(length) / SAMPLE_RATE)


def swept_cycles(frequency_hz: NDArray[np.floating]) -> NDArray[np.float64]:
    """The running phase of a frequency given sample by sample."""
    return np.cumsum(frequency_hz, dtype=np.float64) / SAMPLE_RATE


def edges(length: int, attack_seconds: float, release_seconds: float) -> Signal:
    """One in the middle, raised cosines at both ends: a note begins and ends without a click."""
    rise = min(samples(attack_seconds), length // 2)
    fall = min(samples(release_seconds), length - rise)
    envelope = np.ones(length, np.float32)
    envelope[:rise] = 0.5 - 0.5 * np.cos(np.pi * np.arange(rise) / max(rise, 1))
    envelope[length - fall :] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(1, fall + 1) / max(fall, 1))
    return envelope


def decay(length: int, sixty_decibel_seconds: float) -> Signal:
    """Exponential decay, named by the time in which it falls by 60 dB."""
    rate = np.float32(np.log(1000.0) / sixty_decibel_seconds)
    return np.exp(-rate * seconds_axis(length))


def pan(sound: Signal, position: float) -> Signal:
    """Place a mono sound between left (-1) and right (+1) at constant power."""
    angle = (position + 1.0) * np.pi / 4.0
    return np.stack([sound * np.float32(np.cos(angle)), sound * np.float32(np.sin(angle))])


def place(track: Signal, sound: Signal, start_seconds: float) -> None:
    """Add a sound to a track in place; what reaches beyond the track's end is cut."""
    start = samples(start_seconds)
    stop = min(start + sound.shape[-1], track.shape[-1])
    track[..., start:stop] += sound[..., : max(stop - start, 0)]


def noise(generator: np.random.Generator, *shape: int) -> Signal:
    return generator.standard_normal(shape, np.float32)


def highpass(sound: Signal, corner_hz: float) -> Signal:
    return _butterworth(sound, corner_hz, "highpass")


def lowpass(sound: Signal, corner_hz: float) -> Signal:
    return _butterworth(sound, corner_hz, "lowpass")


def _butterworth(sound: Signal, corner_hz: float, kind: str) -> Signal:
    # In float64: the poles of a 30 Hz corner stand too near the unit circle for float32.
    sections = butter(2, corner_hz, kind, fs=SAMPLE_RATE, output="sos")
    return np.asarray(sosfilt(sections, sound), np.float32)


def in_room(
    sound: Signal, generator: np.random.Generator, reverberation_seconds: float, level: float
) -> Signal:
    """Add a room to a stereo sound: decaying noise, another one in each ear (Moorer 1979).

    `level` is the room's share: the root of its energy against that of the direct sound.
    """
    length = samples(reverberation_seconds)
    response = noise(generator, 2, length) * decay(length, reverberation_seconds)
    response = lowpass(response * edges(length, 0.012, 0.02), 6000.0)
    response *= level / np.sqrt(np.sum(response**2, axis=-1, keepdims=True))
    echo = oaconvolve(sound, response, axes=-1)[..., : sound.shape[-1]]
    return sound + echo.astype(np.float32)
