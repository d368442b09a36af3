"""Multichannel Wiener filtering: equality with open-unmix, and further properties."""

import inspect
import math
from functools import cache

import pytest
import torch
from openunmix import filtering

from stemsplit.separation import stereo_wiener
from stemsplit.separation.wiener import NOISE_POWER, iterate, wiener


def complex_noise(*shape, dtype=torch.complex128, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=dtype, generator=generator)


@cache
def band(seconds=2.0, rate=44100):
    """Spectra `(stem, channel, freq, frame)` of three plucked strings and a drum, panned."""
    time = torch.arange(int(seconds * rate), dtype=torch.float64) / rate
    generator = torch.Generator().manual_seed(0)
    stems = []
    for hertz, period, pan in ((110.0, 0.6, 0.3), (329.6, 0.4, 0.5), (493.9, 0.25, 0.8)):
        note = torch.exp(-5 * (time % period))
        partials = (torch.sin(2 * math.pi * hertz * n * time) / n for n in range(1, 9))
        stems.append((0.2 * note * sum(partials), pan))
    noise = torch.randn(len(time), dtype=torch.float64, generator=generator)
    stems.append((0.3 * noise * torch.exp(-30 * (time % 0.5)), 0.5))
    waveforms = torch.stack([torch.stack((x * math.cos(p), x * math.sin(p))) for x, p in stems])
    window = torch.hann_window(4096, dtype=torch.float64)
    spectra = [torch.stft(x, 4096, 1024, window=window, return_complex=True) for x in waveforms]
    return torch.stack(spectra)[..., ::16, :]  # a subset of the frequencies is enough


def openunmix(magnitudes, mixture, iterations, residual=False):
    """Apply the filter of open-unmix to arrays `(stem, channel, freq, frame)`."""
    targets = magnitudes.permute(3, 2, 1, 0).contiguous()
    # It overwrites the mixture, so it gets a copy.
    x = torch.view_as_real(mixture.permute(2, 1, 0).clone(memory_format=torch.contiguous_format))
    y = filtering.wiener(targets, x, iterations, residual=residual)
    return torch.view_as_complex(y.permute(4, 2, 1, 0, 3).contiguous())


def largest(difference, reference):
    return (difference.abs().max() / reference.abs().max()).item()


def random_spectra():
    stems = complex_noise(3, 2, 40, 30)
    return stems.abs(), stems.sum(0)


def musical_spectra():
    stems = band()
    generator = torch.Generator().manual_seed(1)
    wrong = 0.2 + 1.6 * torch.rand(stems.shape, dtype=torch.float64, generator=generator)
    return stems.abs() * wrong, stems.sum(0)


def mono_spectra():
    """Equal channels, for which the covariance has a determinant near 0."""
    magnitudes, mixture = musical_spectra()
    return (
        magnitudes[:, :1].expand(-1, 2, -1, -1),
        mixture[:1].expand(2, -1, -1),
    )


@pytest.mark.parametrize("spectra", [random_spectra, musical_spectra, mono_spectra])
@pytest.mark.parametrize("iterations", [1, 2])
@pytest.mark.parametrize("residual", [False, True])
def test_equals_openunmix(spectra, iterations, residual):
    magnitudes, mixture = spectra()
    estimates = openunmix(magnitudes, mixture, 0, residual)
    reference = openunmix(magnitudes, mixture, iterations, residual)
    refined = wiener(estimates[None], mixture[None], iterations)[0]
    assert largest(refined - reference, reference) < 1e-7
    # In single precision, open-unmix has errors of 1e-3 on music and of 50% on mono.
    refined = wiener(estimates[None].cfloat(), mixture[None].cfloat(), iterations)[0]
    assert refined.dtype == torch.complex64
    assert largest(refined - reference, reference) < (1e-5 if iterations == 1 else 5e-5)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_any_number_of_channels_satisfies_the_equations(channels):
    estimates = complex_noise(2, channels, 4, 9)
    mixture = estimates.sum(0)
    noise = NOISE_POWER * max(1, mixture.abs().max().item() / 10) ** 2
    expected = torch.empty_like(estimates)
    for f in range(4):
        y = estimates[:, :, f]
        power = y.abs().square().mean(1)
        covariance = torch.einsum("jct,jdt->jcd", y, y.conj())
        covariance /= power.sum(1)[:, None, None] + NOISE_POWER * noise
        for t in range(9):
            total = sum(p * r for p, r in zip(power[:, t], covariance, strict=True))
            inverse = torch.linalg.inv(total + noise * torch.eye(channels))
            for j in range(2):
                expected[j, :, f, t] = power[j, t] * covariance[j] @ inverse @ mixture[:, f, t]
    refined = wiener(estimates[None], mixture[None])[0]
    assert largest(refined - expected, expected) < 1e-9


def test_zero_iterations_return_the_estimates():
    estimates = complex_noise(2, 3, 2, 5, 4)
    assert wiener(estimates, estimates.sum(1), 0) is estimates


def test_refined_stems_sum_to_the_mixture_up_to_the_noise():
    stems = band()
    refined = wiener(0.5 * stems[None], stems.sum(0, keepdim=True))[0]
    assert largest(refined.sum(0) - stems.sum(0), stems.sum(0)) < 4e-3


def test_inputs_are_not_changed():
    estimates, mixture = complex_noise(1, 2, 2, 9, 7), complex_noise(1, 2, 9, 7, seed=1)
    mixture[..., 0] = 0
    before = estimates.clone(), mixture.clone()
    wiener(estimates, mixture, 2)
    assert torch.equal(estimates, before[0])
    assert torch.equal(mixture, before[1])


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_silence_stays_silent(channels):
    silence = torch.zeros(1, 2, channels, 6, 5, dtype=torch.complex64)
    assert torch.equal(wiener(silence, silence[:, 0], 2), silence)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_silent_stem_stays_silent(channels):
    estimates = complex_noise(1, 3, channels, 6, 5, dtype=torch.complex64)
    estimates[:, 1] = 0
    refined = wiener(estimates, estimates.sum(1), 2)
    assert refined.isfinite().all()
    assert not refined[:, 1].any()


@pytest.mark.parametrize("gain", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("excess", [1, 100])
def test_equal_channels_stay_within_the_mixture_at_any_level(gain, excess):
    """Estimates louder than the mixture make its noise smaller than single precision resolves."""
    mono = gain * complex_noise(1, 2, 1, 20, 50, dtype=torch.complex64)
    estimates = mono.expand(-1, -1, 2, -1, -1)
    mixture = estimates.sum(1) / excess
    refined = wiener(estimates, mixture, 3)
    assert refined.isfinite().all()
    assert refined.abs().max() <= 1.001 * mixture.abs().max()


def test_stems_scale_with_a_loud_mixture():
    """Above 10 the noise is proportional to the mixture; scaling by a power of two is exact."""
    estimates = 100 * complex_noise(1, 2, 2, 8, 9, dtype=torch.complex64)
    mixture = estimates.sum(1)
    assert torch.equal(wiener(4 * estimates, 4 * mixture), 4 * wiener(estimates, mixture))


def test_frequencies_are_independent(monkeypatch):
    """Blocks and memory layout do not matter, for a mixture with a peak below 10."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # it sets the size of a block
    estimates = complex_noise(1, 4, 2, 500, 60, dtype=torch.complex64)
    mixture = estimates.sum(1) / 10
    refined = wiener(estimates, mixture)
    subset = slice(123, 456)
    part = wiener(estimates[..., subset, :], mixture[..., subset, :])
    torch.testing.assert_close(part, refined[..., subset, :], rtol=1e-5, atol=1e-6)
    transposed = wiener(estimates.mT.contiguous().mT, mixture.mT.contiguous().mT)
    torch.testing.assert_close(transposed, refined, rtol=1e-5, atol=1e-6)


def test_items_of_a_batch_are_independent():
    estimates = complex_noise(3, 2, 2, 8, 9, dtype=torch.complex64)
    estimates[1] *= 1000
    mixture = estimates.sum(1)
    alone = torch.cat([wiener(estimates[i : i + 1], mixture[i : i + 1]) for i in range(3)])
    assert torch.equal(wiener(estimates, mixture), alone)


def test_gradients_are_correct():
    estimates = complex_noise(1, 2, 2, 3, 4).requires_grad_()
    mixture = complex_noise(1, 2, 3, 4, seed=1)
    assert torch.autograd.gradcheck(lambda y: wiener(y, mixture, 2), estimates)


def test_autocast_does_not_change_the_result():
    estimates = complex_noise(1, 2, 2, 8, 9, dtype=torch.complex64)
    with torch.autocast("cpu", torch.bfloat16):
        refined = wiener(estimates, estimates.sum(1))
    assert torch.equal(refined, wiener(estimates, estimates.sum(1)))


def test_wrong_shapes_and_iterations_are_refused():
    unchecked = inspect.unwrap(wiener)  # without the run-time check of annotations
    estimates = complex_noise(1, 3, 2, 8, 9)
    with pytest.raises(ValueError, match=r"mixture \(1, 2, 8, 9\).*estimates \(1, 3, 1, 8, 9\)"):
        unchecked(estimates[:, :, :1], estimates.sum(1))
    with pytest.raises(ValueError, match="-1"):
        unchecked(estimates, estimates.sum(1), -1)


@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("exponent", [20, 60, 80, 115])
def test_scaling_by_a_power_of_two_is_exact(exponent, iterations):
    stems = 2.0**8 * complex_noise(3, 2, 40, 30, dtype=torch.complex64)[None]
    scale = 2.0**exponent
    expected = wiener(stems, stems.sum(1), iterations)
    refined = wiener(stems * scale, stems.sum(1) * scale, iterations)
    torch.testing.assert_close(refined / scale, expected, rtol=0, atol=0)


@pytest.mark.parametrize("spectra", [random_spectra, musical_spectra, mono_spectra])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_iteration_in_real_numbers_equals_the_general_one(spectra, dtype):
    magnitudes, mixture = spectra()
    mixture = mixture.to(dtype)
    stems = (magnitudes * torch.exp(1j * mixture.angle())).to(dtype)
    noise = torch.tensor(NOISE_POWER, dtype=dtype.to_real())
    expected = iterate(stems, mixture, noise)
    planes = (stereo_wiener.planes(each) for each in (stems, mixture))
    refined = torch.empty_like(stems)
    stereo_wiener.planes(refined).copy_(stereo_wiener.iterate(*planes, noise, noise * NOISE_POWER))
    tolerance = 1e-4 if dtype == torch.complex64 else 1e-9
    assert largest(refined - expected, expected) < tolerance
