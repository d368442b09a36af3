"""Building blocks of the synthesis: oscillators, envelopes, filters, panning and reverberation."""

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, oaconvolve, sosfilt

SAMPLE_RATE = 44_100
TABLE = 16_384  # samples per stored period, so many that reading needs no interpolation

Signal = NDArray[np.float32]  # (time) or (channel, time), at SAMPLE_RATE


def samples(seconds: float) -> int:
    """Convert a duration to samples."""
    return round(seconds * SAMPLE_RATE)


def hertz(pitch: float | NDArray[np.floating]) -> NDArray[np.float64]:
    """Frequency of a MIDI pitch (69 is A4, 440 Hz; one unit is a semitone)."""
    return np.asarray(440.0 * 2.0 ** ((pitch - 69.0) / 12.0), np.float64)


def seconds_axis(length: int) -> Signal:
    """The times of `length` samples in seconds."""
    return np.arange(length, dtype=np.float32) / np.float32(SAMPLE_RATE)


def period(amplitudes: NDArray[np.number]) -> Signal:
    """One period of a sum of sines, in `TABLE` samples.

    `amplitudes` holds the amplitudes of the fundamental and then of its harmonics.
    """
    spectrum = np.zeros(TABLE // 2 + 1, np.complex128)
    spectrum[1 : len(amplitudes) + 1] = -0.5j * TABLE * amplitudes
    return np.fft.irfft(spectrum, TABLE).astype(np.float32)


def oscillate(table: Signal, cycles: NDArray[np.floating]) -> Signal:
    """Read a stored period at a running phase, which is given in cycles (1 is one period)."""
    return table[(cycles * TABLE).astype(np.int64) & (TABLE - 1)]


def steady_cycles(frequency_hz: NDArray[np.floating], length: int) -> NDArray[np.float64]:
    """The running phase in cycles of constant frequencies; time is a new last axis."""
    return np.multiply.outer(frequency_hz, np.arange(length) / SAMPLE_RATE)


def swept_cycles(frequency_hz: NDArray[np.floating]) -> NDArray[np.float64]:
    """The running phase in cycles of a frequency that changes from sample to sample."""
    return np.cumsum(frequency_hz, dtype=np.float64) / SAMPLE_RATE


def edges(length: int, attack_seconds: float, release_seconds: float) -> Signal:
    """An envelope of 1 with raised cosines at both ends, so that a note has no clicks."""
    rise = min(samples(attack_seconds), length // 2)
    fall = min(samples(release_seconds), length - rise)
    envelope = np.ones(length, np.float32)
    envelope[:rise] = 0.5 - 0.5 * np.cos(np.pi * np.arange(rise) / max(rise, 1))
    envelope[length - fall :] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(1, fall + 1) / max(fall, 1))
    return envelope


def decay(length: int, sixty_decibel_seconds: float) -> Signal:
    """An exponential decay by 60 dB in `sixty_decibel_seconds`."""
    rate = np.float32(np.log(1000.0) / sixty_decibel_seconds)
    return np.exp(-rate * seconds_axis(length))


def pan(sound: Signal, position: float) -> Signal:
    """Pan a mono sound between left (-1) and right (+1) with constant power."""
    angle = (position + 1.0) * np.pi / 4.0
    return np.stack([sound * np.float32(np.cos(angle)), sound * np.float32(np.sin(angle))])


def place(track: Signal, sound: Signal, start_seconds: float) -> None:
    """Add a sound to a track in place; cut the sound at the end of the track."""
    start = samples(start_seconds)
    stop = min(start + sound.shape[-1], track.shape[-1])
    track[..., start:stop] += sound[..., : max(stop - start, 0)]


def noise(generator: np.random.Generator, *shape: int) -> Signal:
    """White Gaussian noise of unit variance."""
    return generator.standard_normal(shape, np.float32)


def highpass(sound: Signal, corner_hz: float) -> Signal:
    return _butterworth(sound, corner_hz, "highpass")


def lowpass(sound: Signal, corner_hz: float) -> Signal:
    return _butterworth(sound, corner_hz, "lowpass")


def _butterworth(sound: Signal, corner_hz: float, kind: str) -> Signal:
    # The filter runs in float64, because float32 is too coarse for a corner of 30 Hz, whose poles
    # are close to the unit circle.
    sections = butter(2, corner_hz, kind, fs=SAMPLE_RATE, output="sos")
    return np.asarray(sosfilt(sections, sound), np.float32)


def in_room(
    sound: Signal, generator: np.random.Generator, reverberation_seconds: float, level: float
) -> Signal:
    """Add reverberation to a stereo sound (Moorer 1979).

    The impulse response of each channel is independent decaying noise. `level` is the amplitude of
    the reverberation relative to the direct sound. It is the square root of the energy of the
    impulse response.
    """
    length = samples(reverberation_seconds)
    response = noise(generator, 2, length) * decay(length, reverberation_seconds)
    response = lowpass(response * edges(length, 0.012, 0.02), 6000.0)
    response *= level / np.sqrt(np.sum(response**2, axis=-1, keepdims=True))
    echo = oaconvolve(sound, response, axes=-1)[..., : sound.shape[-1]]
    return sound + echo.astype(np.float32)
