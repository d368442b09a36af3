"""Writing stems of any length."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemsplit import audio
from stemsplit.audio import writing


@pytest.mark.parametrize(
    ("data_bytes", "container"),
    [(8, "WAV"), (4 * 10**9, "WAV"), (2**32 - 80, "RF64"), (2**32, "RF64"), (2**40, "RF64")],
)
def test_long_data_needs_rf64(data_bytes: int, container: str) -> None:
    assert writing.container_of(data_bytes) == container


def test_long_stem_is_written_as_rf64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = np.random.default_rng(0).uniform(-1, 1, (2, 1000)).astype(np.float32)
    path = tmp_path / "stem.wav"
    monkeypatch.setattr(writing, "WAV_BYTES", sound.nbytes)
    audio.write(path, sound, 44100)
    assert path.read_bytes()[:4] == b"RIFF"
    monkeypatch.setattr(writing, "WAV_BYTES", sound.nbytes - 1)
    audio.write(path, sound, 44100)
    assert path.read_bytes()[:4] == b"RF64"
    np.testing.assert_array_equal(audio.read(path).samples, sound)
    np.testing.assert_array_equal(soundfile.read(path, dtype="float32")[0].T, sound)


@pytest.mark.parametrize(("channels", "written"), [(1, 1), (2, 2), (6, 1)])
@pytest.mark.parametrize(("rate", "written_rate"), [(8000, 8000), (9000, 11025), (96000, 48000)])
def test_mp3_has_a_rate_and_channels_that_browsers_play(
    channels: int, written: int, rate: int, written_rate: int, tmp_path: Path
) -> None:
    sound = np.tile(2 * np.sin(0.3 * np.arange(rate, dtype=np.float32)), (channels, 1))
    path = tmp_path / "sound.mp3"
    writing.write_mp3(path, sound, rate)
    info = soundfile.info(path)
    assert (info.format, info.channels, info.samplerate) == ("MP3", written, written_rate)
    assert info.duration == pytest.approx(1, abs=0.2)
