"""Write WAV and MP3 files."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemsplit import audio
from stemsplit.audio import writing


def test_the_same_samples_give_the_same_bytes_at_any_time(tmp_path: Path) -> None:
    sound = np.random.default_rng(0).uniform(-2, 2, (3, 50_000)).astype(np.float32)
    path = tmp_path / "\udcff stem.wav"  # a name that is not UTF-8
    audio.write(path, sound, 44100)
    # libsndfile would write the present time into the chunk PEAK.
    assert b"PEAK" not in path.read_bytes()
    assert soundfile.info(path.rename(tmp_path / "stem.wav")).subtype == "FLOAT"
    np.testing.assert_array_equal(audio.read(tmp_path / "stem.wav").samples, sound)


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
