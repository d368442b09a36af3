"""Pieces of samples, archives and spectrograms of written stems."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib.image import imread

from stemsplit.page.playback import BLOCK, archive, piece, playback
from stemsplit.page.spectrograms import COLUMNS, ROWS, draw, hertz_range

RATE = 8000
BLACK = 0.02  # sum of the colours; the darkest colour of the map is not quite black


def write(path: Path, samples: np.ndarray) -> Path:
    soundfile.write(path, samples.T, RATE, "FLOAT")
    return path


@pytest.fixture
def noise() -> np.ndarray:
    """Two stems, (stem, channel, time), 4.5 s long; some samples exceed 1."""
    return np.random.default_rng(0).normal(0, 0.5, (2, 2, 9 * RATE // 2)).astype(np.float32)


def test_pieces_join_to_the_stems(tmp_path: Path, noise: np.ndarray) -> None:
    stems = [write(tmp_path / f"{number}.wav", stem) for number, stem in enumerate(noise)]
    form = playback(stems[0])
    assert form == (RATE, 2, noise.shape[-1], 2 * RATE)
    pieces = [np.frombuffer(piece(stems, number), "<f4").reshape(2, 2, -1) for number in range(3)]
    assert [samples.shape[-1] for samples in pieces] == [2 * RATE, 2 * RATE, RATE // 2]
    np.testing.assert_array_equal(np.concatenate(pieces, axis=-1), noise)
    assert piece(stems, 3) == b""
    assert piece(stems, 10**12) == b""


def test_archive_holds_the_files(tmp_path: Path) -> None:
    contents = {"夜/vocals.wav": b"v" * (BLOCK + 1), "夜/drums.wav": b"", "夜/rest.wav": b"r"}
    paths = {}
    for number, (name, content) in enumerate(contents.items()):
        paths[name] = tmp_path / str(number)
        paths[name].write_bytes(content)
    blocks = list(archive(paths))
    assert max(map(len, blocks)) < 2 * BLOCK  # constant memory
    with zipfile.ZipFile(io.BytesIO(b"".join(blocks))) as archived:
        assert archived.testzip() is None
        assert {name: archived.read(name) for name in archived.namelist()} == contents


def tone(hertz: float, seconds: float = 3.0, amplitude: float = 0.5) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return np.tile(amplitude * np.sin(2 * np.pi * hertz * time), (2, 1))


def brightness(picture: Path) -> np.ndarray:
    return imread(picture)[::-1, :, :3].sum(axis=2)  # from low to high frequencies


def test_spectrogram_shows_a_tone_at_its_frequency(tmp_path: Path) -> None:
    low, high = hertz_range(RATE)
    assert (low, high) == (50, RATE / 2)
    hertz = 800.0
    [mixture, picture] = draw([write(tmp_path / "a.wav", tone(hertz))], tmp_path)
    assert [mixture.name, picture.name] == ["0.png", "1.png"]
    pixels = brightness(picture)
    assert pixels.shape == (ROWS, COLUMNS)
    expected = ROWS * np.log(hertz / low) / np.log(high / low)
    assert abs(pixels.mean(axis=1).argmax() - expected) < 2
    np.testing.assert_array_equal(pixels, brightness(mixture))


def test_spectrograms_share_one_scale(tmp_path: Path) -> None:
    stems = [
        write(tmp_path / "a.wav", tone(800, amplitude=0.5)),
        write(tmp_path / "b.wav", tone(800, amplitude=0.05)),
        write(tmp_path / "c.wav", 0 * tone(800)),
    ]
    mixture, *pictures = [brightness(path).max() for path in draw(stems, tmp_path)]
    loud, quiet, silent = pictures
    assert mixture >= loud > quiet > BLACK > silent


def test_spectrogram_of_opposite_stems_is_black(tmp_path: Path) -> None:
    stems = [
        write(tmp_path / "a.wav", tone(800)),
        write(tmp_path / "b.wav", -tone(800)),
    ]
    mixture, *_ = draw(stems, tmp_path)
    assert brightness(mixture).max() < BLACK


@pytest.mark.parametrize("seconds", [0.001, 0.3])
def test_spectrogram_of_a_short_song(tmp_path: Path, seconds: float) -> None:
    assert len(draw([write(tmp_path / "a.wav", tone(800, seconds))], tmp_path)) == 2
