"""Tempo moves events in time, pitch moves frequencies, and both keep level and stereo image."""

import numpy as np
import pytest
import torch
from torch import Tensor

from stemsplit.data.augment import speed
from stemsplit.data.augment.stretch import stretch, window_of, with_tempo_and_pitch

RATE = 44100
WINDOW = window_of(RATE)
TIME = 2 * RATE
TEMPOS = [0.88, 0.95, 1.05, 1.12]
SEMITONES = [-2.0, -0.7, 0.6, 2.0]
CHANGES = [(tempo, 0.0) for tempo in TEMPOS] + [(1.0, semitones) for semitones in SEMITONES]
CHANGES += [(0.9, 1.5), (1.1, -1.5)]
LENGTH = 3 * RATE


def pitches(*semitones: float) -> np.ndarray:
    return speed.nearest(2 ** (np.array(semitones) / 12))


def changed(samples: Tensor, tempo: float, semitones: float) -> Tensor:
    """Change all examples equally; the result starts one window after the start of the input."""
    tempos = np.full(len(samples), tempo)
    factors = np.repeat(pitches(semitones), len(samples))
    return with_tempo_and_pitch(samples, tempos, factors, WINDOW, TIME, WINDOW)


def seconds(length: int = LENGTH) -> Tensor:
    return torch.arange(length, dtype=torch.float64) / RATE


def tone(hertz: float, phase: float = 0.0) -> Tensor:
    return (0.5 * torch.sin(2 * torch.pi * hertz * seconds() + phase)).float()


def noise(*shape: int) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def hits(places: list[int]) -> Tensor:
    """Bursts of noise with sudden onsets at these samples."""
    samples = torch.zeros(LENGTH)
    for place in places:
        samples[place : place + 2000] = noise(2000) * torch.linspace(0, -7, 2000).exp()
    return samples


def onset(samples: Tensor) -> int:
    """The first sample at which the loudness exceeds a quarter of its maximum."""
    loudness = samples.square().unfold(0, 64, 1).mean(-1)
    return int((loudness > 0.25 * loudness.max()).nonzero()[0]) + 63


def peak_hertz(samples: Tensor) -> float:
    windowed = samples.double() * torch.hann_window(len(samples), dtype=torch.float64)
    spectrum = torch.fft.rfft(windowed, 8 * len(samples)).abs()
    return float(spectrum.argmax()) * RATE / (8 * len(samples))


def decibels(ratio: Tensor) -> float:
    return float(20 * ratio.log10())


@pytest.mark.parametrize(("tempo", "semitones"), CHANGES)
@pytest.mark.parametrize("hertz", [110.0, 440.0, 6000.0])
def test_tone_stays_pure_and_moves_with_pitch_only(
    hertz: float, tempo: float, semitones: float
) -> None:
    result = changed(tone(hertz)[None, None], tempo, semitones)[0, 0]
    assert result.shape == (TIME,)
    expected = hertz * float(pitches(semitones)[0])
    assert peak_hertz(result) == pytest.approx(expected, abs=0.1)
    inside = result[WINDOW:-WINDOW].double()
    assert abs(decibels(inside.std() / tone(hertz).double().std())) < 0.1
    # Subtract the best-fitting sine of the expected frequency.
    phase = 2 * torch.pi * expected * seconds(len(inside))
    waves = torch.stack([phase.sin(), phase.cos()], dim=1)
    residual = inside - waves @ torch.linalg.lstsq(waves, inside[:, None]).solution[:, 0]
    assert decibels(residual.std() / inside.std()) < -50


@pytest.mark.parametrize(("tempo", "semitones"), CHANGES)
def test_events_move_with_tempo_only(tempo: float, semitones: float) -> None:
    places = [20000, 50000, 90000]
    result = changed(hits(places)[None, None], tempo, semitones)[0, 0]
    for place in places:
        expected = round((place - WINDOW) / tempo)
        if expected + 1000 > TIME:
            continue
        around = result[expected - 1500 : expected + 1500]
        assert abs(onset(around) - 1500) < 0.006 * RATE
        before = around[:1200].square().mean() / around[1500:].square().mean()
        assert 10 * before.log10() < -15, "there is a pre-echo"


@pytest.mark.parametrize("tempo", TEMPOS)
def test_click_stays_compact(tempo: float) -> None:
    samples = torch.zeros(1, 1, LENGTH)
    samples[..., 20000::30000] = 1
    result = changed(samples, tempo, 0.0)[0, 0]
    for place in (20000, 50000):
        expected = round((place - WINDOW) / tempo)
        energy = result[expected - 2000 : expected + 2000].square()
        highest = int(energy.argmax())
        assert abs(highest - 2000) < 0.003 * RATE
        assert energy[highest - 90 : highest + 90].sum() > 0.95 * energy.sum()


@pytest.mark.parametrize(("tempo", "semitones"), CHANGES)
def test_level_of_noise_is_preserved(tempo: float, semitones: float) -> None:
    samples = noise(1, 2, LENGTH)
    # Remove frequencies that a higher pitch would move above half the sample rate.
    spectrum = torch.fft.rfft(samples)
    spectrum[..., 10000 * LENGTH // RATE :] = 0
    samples = torch.fft.irfft(spectrum, LENGTH)
    assert abs(decibels(changed(samples, tempo, semitones).std() / samples.std())) < 1


@pytest.mark.parametrize(("tempo", "semitones"), CHANGES)
def test_level_is_constant_up_to_both_ends(tempo: float, semitones: float) -> None:
    length = int(np.ceil(TIME * max(1, tempo))) + 2 * WINDOW
    result = changed(noise(1, 1, length), tempo, semitones)[0, 0]
    level = result.std()
    for edge in (result[:200], result[-200:]):
        assert abs(decibels(edge.std() / level)) < 3


@pytest.mark.parametrize(("tempo", "semitones"), CHANGES)
def test_stereo_image_is_preserved(tempo: float, semitones: float) -> None:
    left = noise(LENGTH) + hits([20000, 50000])
    for factor in (0.5, -0.5, 0.0):
        result = changed(torch.stack([left, factor * left])[None], tempo, semitones)[0]
        assert torch.allclose(result[1], factor * result[0], atol=1e-6)
    # A phase difference of a quarter period between the channels is preserved.
    quarter = torch.stack([tone(440), tone(440, torch.pi / 2)])[None]
    spectra = torch.fft.rfft(changed(quarter, tempo, semitones)[0] * torch.hann_window(TIME))
    peak = int(spectra[0].abs().argmax())
    ratio = spectra[1, peak] / spectra[0, peak]
    assert float(ratio.angle()) == pytest.approx(torch.pi / 2, abs=0.01)
    assert decibels(ratio.abs()) == pytest.approx(0, abs=0.1)


def test_tempo_one_changes_nothing() -> None:
    samples = noise(2, 2, LENGTH) + hits([30000])
    result = stretch(samples, np.ones(2), WINDOW, TIME, WINDOW)
    assert torch.allclose(result, samples[..., WINDOW : WINDOW + TIME], atol=1e-6)


@pytest.mark.parametrize(("tempo", "semitones"), CHANGES)
def test_silence_stays_silence(tempo: float, semitones: float) -> None:
    assert not changed(torch.zeros(1, 2, LENGTH), tempo, semitones).any()
    late = torch.zeros(1, 1, LENGTH)
    late[..., LENGTH // 2 :] = noise(LENGTH - LENGTH // 2)
    result = changed(late, tempo, semitones)
    start = round((LENGTH // 2 - WINDOW) / tempo)
    assert result[..., : start - WINDOW].abs().max() < 1e-6
    assert result[..., start + WINDOW :].square().mean().sqrt() > 0.05, "the sound is lost"


@pytest.mark.parametrize("tempo", TEMPOS)
def test_slow_fade_in_reaches_full_level(tempo: float) -> None:
    fade = 10 ** torch.linspace(-30, 0, RATE)  # too slow for an onset
    samples = tone(1000) * torch.cat([fade, torch.ones(LENGTH - len(fade))])
    result = changed(samples[None, None], tempo, 0.0)[0, 0]
    assert result[round(RATE / tempo) :].std() == pytest.approx(0.354, abs=0.02)


def test_short_waveform_is_padded_with_silence() -> None:
    result = changed(noise(1, 1, TIME), 1.1, 1.0)
    assert result.shape[-1] == TIME
    assert result[..., : TIME // 2].any()
    assert result[..., -100:].abs().max() < 1e-6


def test_examples_are_independent() -> None:
    samples = noise(len(CHANGES), 2, LENGTH)
    before = samples.clone()
    tempos, semitones = np.array(CHANGES).T
    batch = with_tempo_and_pitch(samples, tempos, pitches(*semitones), WINDOW, TIME, WINDOW)
    assert torch.equal(samples, before)
    assert batch.dtype == torch.float32
    assert batch.isfinite().all()
    for number, (tempo, shift) in enumerate(CHANGES):
        single = changed(samples[number : number + 1], tempo, shift)
        assert torch.allclose(batch[number], single[0], atol=1e-5)


@pytest.mark.parametrize(("rate", "window"), [(44100, 2048), (48000, 2048), (16000, 512)])
def test_window_has_similar_duration_at_all_rates(rate: int, window: int) -> None:
    assert window_of(rate) in (window, 2 * window)
    assert 0.03 < window_of(rate) / rate < 0.07
