"""MIR-1K has the published split, the voice on the right channel and a 0 dB mixture."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemsplit.data.corpora.mir1k import mir1k
from stemsplit.data.store.store import Store
from stemsplit.errors import InputError

RATE = 16000
CLIPS = {
    "abjones_5_08": "valid",
    "amy_9_09": "valid",
    "abjones_5_07": "train",
    "amy_1_01": "train",
    "Ani_1_01": "test",
    "yifen_5_08": "test",
}


def samples_of(seed: int) -> np.ndarray:
    """16-bit samples (time, channel)."""
    return np.random.default_rng(seed).integers(-9999, 9999, (4000, 2)).astype(np.int16)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    root = tmp_path / "MIR-1K"
    (root / "Wavfile").mkdir(parents=True)
    for seed, name in enumerate(CLIPS):
        soundfile.write(root / "Wavfile" / f"{name}.wav", samples_of(seed), RATE, "PCM_16")
    return root


@pytest.mark.parametrize("place", ["Wavfile", ".", ".."])
def test_split_is_by_singer(place: str, corpus: Path) -> None:
    (corpus / "Wavfile" / "._amy_1_01.wav").write_bytes(b"\x00")  # a resource file of macOS
    tracks = mir1k(corpus / place)
    assert {track.name: track.subset for track in tracks} == CLIPS
    assert all(list(track.stems) == ["accompaniment", "vocals"] for track in tracks)


def test_voice_is_the_right_channel(corpus: Path, cache: Path) -> None:
    tracks = Store(cache, RATE, 1).tracks(mir1k(corpus))
    written = samples_of(list(CLIPS).index("amy_1_01")).T / 32768
    [track] = [track for track in tracks if track.name == "amy_1_01"]
    np.testing.assert_array_equal(track.read("accompaniment"), written[:1])
    np.testing.assert_array_equal(track.read("vocals"), written[1:])
    np.testing.assert_array_equal(track.mixture(), written.sum(axis=0, keepdims=True))


def test_root_without_corpus_is_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent: does not exist"):
        mir1k(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        InputError, match=r"empty: there are no wav files.*MIR-1K or MIR-1K/Wavfile"
    ):
        mir1k(tmp_path / "empty")
    undivided = corpus / "UndividedWavfile"
    undivided.mkdir()
    (corpus / "Wavfile" / "amy_1_01.wav").rename(undivided / "amy_1.wav")
    with pytest.raises(InputError, match=r"amy_1\.wav: is not a clip of MIR-1K.*Wavfile"):
        mir1k(undivided)


@pytest.mark.skipif("MIR1K_PATH" not in os.environ, reason="MIR1K_PATH is not set")
def test_real_corpus_has_published_split() -> None:
    tracks = mir1k(Path(os.environ["MIR1K_PATH"]))
    assert Counter(track.subset for track in tracks) == {"train": 171, "valid": 4, "test": 825}
