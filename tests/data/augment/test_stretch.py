"""Tempo and pitch: tones keep or move their frequency, events their time, and stereo its image."""

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
    """All examples alike, from a window after their start on."""
    tempos = np.full(len(samples), tempo)
    same = np.repeat(pitches(semitones), len(samples))
    return with_tempo_and_pitch(samples, tempos, same, WINDOW, TIME, WINDOW)


def seconds(length: int = LENGTH) -> Tensor:
    return torch.arange(length, dtype=torch.float64) / RATE


def tone(hertz: float, phase: float = 0.0) -> Tensor:
    return (0.5 * torch.sin(2 * torch.pi * hertz * seconds() + phase)).float()


def noise(*shape: int) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def hits(places: list[int]) -> Tensor:
    """Bursts of noise with a sudden start."""
    samples = torch.zeros(LENGTH)
    for place in places:
        samples[place : place + 2000] = noise(2000) * torch.linspace(0, -7, 2000).exp()
    return samples


def onset(samples: Tensor) -> int:
    """Where the loudness first comes near its highest."""
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
def test_a_tone_stays_one_tone_and_moves_by_the_semitones_alone(
    hertz: float, tempo: float, semitones: float
) -> None:
    result = changed(tone(hertz)[None, None], tempo, semitones)[0, 0]
    assert result.shape == (TIME,)
    expected = hertz * float(pitches(semitones)[0])
    assert peak_hertz(result) == pytest.approx(expected, abs=0.1)
    inside = result[WINDOW:-WINDOW].double()
    assert abs(decibels(inside.std() / tone(hertz).double().std())) < 0.1
    # What no sine wave of that frequency explains.
    phase = 2 * torch.pi * expected * seconds(len(inside))
    waves = torch.stack([phase.sin(), phase.cos()], dim=1)
    rest = inside - waves @ torch.linalg.lstsq(waves, inside[:, None]).solution[:, 0]
    assert decibels(rest.std() / inside.std()) < -50


@pytest.mark.parametrize(("tempo", "semitones"), CHANGES)
def test_events_come_faster_by_the_tempo_alone(tempo: float, semitones: float) -> None:
    places = [20000, 50000, 90000]
    result = changed(hits(places)[None, None], tempo, semitones)[0, 0]
    for place in places:
        expected = round((place - WINDOW) / tempo)
        if expected + 1000 > TIME:
            continue
        around = result[expected - 1500 : expected + 1500]
        assert abs(onset(around) - 1500) < 0.006 * RATE
        before = around[:1200].square().mean() / around[1500:].square().mean()
        assert 10 * before.log10() < -15, "it is heard before it happens"


@pytest.mark.parametrize("tempo", TEMPOS)
def test_a_click_stays_a_click(tempo: float) -> None:
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
def test_the_level_stays(tempo: float, semitones: float) -> None:
    samples = noise(1, 2, LENGTH)
    # Above what the pitch moves out of hearing, there is nothing to keep.
    spectrum = torch.fft.rfft(samples)
    spectrum[..., 10000 * LENGTH // RATE :] = 0
    samples = torch.fft.irfft(spectrum, LENGTH)
    assert abs(decibels(changed(samples, tempo, semitones).std() / samples.std())) < 1


@pytest.mark.parametrize(("tempo", "semitones"), CHANGES)
def test_there_is_sound_up_to_the_end(tempo: float, semitones: float) -> None:
    read = int(np.ceil(TIME * max(1, tempo))) + 2 * WINDOW
    result = changed(noise(1, 1, read), tempo, semitones)[0, 0]
    level = result.std()
    for edge in (result[:200], result[-200:]):
        assert abs(decibels(edge.std() / level)) < 3


@pytest.mark.parametrize(("tempo", "semitones"), CHANGES)
def test_the_stereo_image_stays(tempo: float, semitones: float) -> None:
    left = noise(LENGTH) + hits([20000, 50000])
    for factor in (0.5, -0.5, 0.0):
        result = changed(torch.stack([left, factor * left])[None], tempo, semitones)[0]
        assert torch.allclose(result[1], factor * result[0], atol=1e-6)
    # A quarter of a period apart before, and after.
    quarter = torch.stack([tone(440), tone(440, torch.pi / 2)])[None]
    spectra = torch.fft.rfft(changed(quarter, tempo, semitones)[0] * torch.hann_window(TIME))
    place = int(spectra[0].abs().argmax())
    between = (spectra[1, place] / spectra[0, place]).angle()
    assert float(between) == pytest.approx(torch.pi / 2, abs=0.01)
    assert decibels((spectra[1, place] / spectra[0, place]).abs()) == pytest.approx(0, abs=0.1)


def test_nothing_changes_at_the_own_tempo() -> None:
    samples = noise(2, 2, LENGTH) + hits([30000])
    result = stretch(samples, np.ones(2), WINDOW, TIME, WINDOW)
    assert torch.allclose(result, samples[..., WINDOW : WINDOW + TIME], atol=1e-6)


@pytest.mark.parametrize(("tempo", "semitones"), CHANGES)
def test_silence_stays_silence(tempo: float, semitones: float) -> None:
    assert not changed(torch.zeros(1, 2, LENGTH), tempo, semitones).any()
    late = torch.zeros(1, 1, LENGTH)
    late[..., LENGTH // 2 :] = noise(LENGTH - LENGTH // 2)
    result = changed(late, tempo, semitones)
    begins = round((LENGTH // 2 - WINDOW) / tempo)
    assert result[..., : begins - WINDOW].abs().max() < 1e-6
    assert result[..., begins + WINDOW :].square().mean().sqrt() > 0.05, "sound after silence"


@pytest.mark.parametrize("tempo", TEMPOS)
def test_sound_that_fades_in_from_next_to_nothing_is_heard(tempo: float) -> None:
    fade = 10 ** torch.linspace(-30, 0, RATE)  # too slow for an onset
    samples = tone(1000) * torch.cat([fade, torch.ones(LENGTH - len(fade))])
    result = changed(samples[None, None], tempo, 0.0)[0, 0]
    assert result[round(RATE / tempo) :].std() == pytest.approx(0.354, abs=0.02)


def test_a_waveform_that_is_too_short_ends_in_silence() -> None:
    result = changed(noise(1, 1, TIME), 1.1, 1.0)
    assert result.shape[-1] == TIME
    assert result[..., : TIME // 2].any()
    assert result[..., -100:].abs().max() < 1e-6


def test_each_has_its_own_and_the_others_have_no_part_in_it() -> None:
    samples = noise(len(CHANGES), 2, LENGTH)
    before = samples.clone()
    tempos, semitones = np.array(CHANGES).T
    how = tempos, pitches(*semitones)
    together = with_tempo_and_pitch(samples, *how, WINDOW, TIME, WINDOW)
    assert torch.equal(samples, before)
    assert together.dtype == torch.float32
    assert together.isfinite().all()
    for number, change in enumerate(CHANGES):
        alone = changed(samples[number : number + 1], *change)
        assert torch.allclose(together[number], alone[0], atol=1e-5)


@pytest.mark.parametrize(("rate", "window"), [(44100, 2048), (48000, 2048), (16000, 512)])
def test_the_window_is_about_as_long_at_any_rate(rate: int, window: int) -> None:
    assert window_of(rate) in (window, 2 * window)
    assert 0.03 < window_of(rate) / rate < 0.07
