"""Samples far above full scale are reported with time and value before training uses them."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemsplit.data.doctor.examination import examine_all
from stemsplit.data.headers import headers_of
from stemsplit.data.store.loudness import LOUDEST, loud_text
from stemsplit.data.store.store import Store
from stemsplit.data.tracks import AudioSource, Track
from stemsplit.errors import InputError

RATE = 8000


def noise(scale: float = 0.3) -> np.ndarray:
    samples = np.random.default_rng(0).uniform(-scale, scale, (2, RATE)).astype(np.float32)
    samples[1, 100] = scale
    return samples


def track(folder: Path, vocals: np.ndarray) -> Track:
    sources = {}
    for name, samples in {"drums": noise(), "vocals": vocals, "mixture": noise()}.items():
        soundfile.write(folder / f"{name}.wav", samples.T, RATE, "FLOAT")
        sources[name] = AudioSource(folder / f"{name}.wav")
    return Track("song", "train", sources.pop("mixture"), sources)


@pytest.mark.parametrize(
    ("value", "sample"), [(1e30, 2000), (-3.4e38, 0), (1e4, 7999), (-101.0, 4000)]
)
def test_loud_sample_is_reported_with_time_and_value(
    value: float, sample: int, tmp_path: Path, cache: Path
) -> None:
    vocals = noise()
    vocals[1, sample] = value
    time = f"{sample / RATE:.2f} s"
    text = f"reaches {np.float32(value):g} at {time}, but full scale is 1: the file"
    song = track(tmp_path, vocals)
    [examined] = examine_all([song], headers_of([song]), ["drums", "vocals"])
    [fault] = [finding for finding in examined.findings if finding.severity == "fault"]
    assert (fault.check, fault.song) == ("loud", "train/song")
    assert fault.text.startswith(f"vocals {text}")
    assert examined.match_db is None
    with pytest.raises(InputError) as refused:
        Store(cache, RATE, 2).tracks([song])
    assert str(refused.value).startswith(f"{tmp_path / 'vocals.wav'}: {text}")
    assert not list((cache / "tracks").iterdir())


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
@pytest.mark.parametrize("level", [0.9, 1.0])
def test_integers_stored_as_floats_are_recognised(
    bits: int, level: float, tmp_path: Path, cache: Path
) -> None:
    full_scale = 2 ** (bits - 1)
    song = track(tmp_path, noise(level * full_scale))
    message = f"the samples are integers stored as floats; divide them by {full_scale}"
    [examined] = examine_all([song], headers_of([song]), ["drums", "vocals"])
    assert [finding.check for finding in examined.findings] == ["loud"]
    assert examined.findings[0].text.endswith(message)
    with pytest.raises(InputError, match=message):
        Store(cache, RATE, 2).tracks([song])


@pytest.mark.parametrize("peak", [0.0, 1.0, 4.0, LOUDEST])
def test_levels_of_music_are_accepted(peak: float, tmp_path: Path, cache: Path) -> None:
    assert loud_text(noise(peak), RATE) is None
    [stored] = Store(cache, RATE, 2).tracks([track(tmp_path, noise(peak))])
    np.testing.assert_array_equal(stored.read("vocals"), noise(peak))


def test_stored_integers_are_scaled_by_unit() -> None:
    stored = np.array([[0, 100, -20000, 3]], np.int16)
    assert loud_text(stored, 1, unit=100 / 32768) is None
    assert str(loud_text(stored, 1, unit=0.25)).startswith("reaches -5000 at 2.00 s")
