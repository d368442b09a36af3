"""The demo songs have valid levels, singing in tune, and files in the format of MUSDB18."""

from pathlib import Path

import av
import numpy as np
import pytest
from scipy.signal import welch

from stemsplit.data.corpora import demo_songs
from stemsplit.data.corpora.demo_songs import (
    SONGS,
    STEMS,
    TEST_SONGS,
    TRAIN_SONGS,
    VALIDATION_TRACKS,
    song_path,
    synthesise_song,
    write_demo_corpus,
    write_song,
)
from stemsplit.data.corpora.synthesis.composition import Note
from stemsplit.data.corpora.synthesis.singing import RANGES, draw_voice, sing
from stemsplit.data.corpora.synthesis.sound import SAMPLE_RATE, hertz


@pytest.fixture(scope="module")
def song() -> dict[str, np.ndarray]:
    return synthesise_song(SONGS[0])


@pytest.fixture
def short_songs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the songs by short noise; return the list of synthesised names."""
    names: list[str] = []

    def noise(name: str, seed: int, seconds: float | None) -> dict[str, np.ndarray]:
        names.append(name)
        generator = np.random.default_rng(seed)
        return {stem: 0.1 * generator.standard_normal((2, 4096), np.float32) for stem in STEMS}

    monkeypatch.setattr(demo_songs, "synthesise_song", noise)
    return names


def decoded(path: Path) -> list[np.ndarray]:
    sounds = []
    with av.open(str(path)) as container:
        streams = len(container.streams.audio)
    for stream in range(streams):
        with av.open(str(path)) as container:
            frames = container.decode(audio=stream)
            sounds.append(np.concatenate([frame.to_ndarray() for frame in frames], axis=-1))
    return sounds


def decibels(signal: np.ndarray, error: np.ndarray) -> float:
    return float(10 * np.log10(np.sum(signal**2) / np.sum(error**2)))


def test_song_depends_on_name_and_seed_only() -> None:
    first, again = (synthesise_song(SONGS[1], seconds=5.0) for _ in range(2))
    others = synthesise_song(SONGS[1], seed=1, seconds=5.0), synthesise_song(SONGS[2], seconds=5.0)
    for stem in STEMS:
        np.testing.assert_array_equal(first[stem], again[stem])
        assert not any(np.array_equal(first[stem], other[stem]) for other in others)


def test_stems_have_valid_levels_and_edges(song: dict[str, np.ndarray]) -> None:
    assert tuple(song) == STEMS
    for stem in song.values():
        assert stem.dtype == np.float32
        assert stem.shape == song["drums"].shape
        assert np.isfinite(stem).all()
        assert np.sqrt(np.mean(stem**2)) > 0.01
        assert abs(np.mean(stem)) < 1e-5, "the stem has an offset"
        assert np.abs(stem[:, [0, -1]]).max() < 1e-3, "the stem starts or ends with a click"
        assert np.abs(stem).max() <= 0.9001
        # With equal channels, the equations of BSS Eval would be singular.
        assert decibels(stem, stem[0] - stem[1]) < 25
    assert 0.7 < np.abs(np.sum(list(song.values()), axis=0)).max() <= 0.9001
    assert 20.0 <= song["drums"].shape[-1] / SAMPLE_RATE <= 30.0


def test_singer_pauses(song: dict[str, np.ndarray]) -> None:
    vocals = song["vocals"]
    block = SAMPLE_RATE // 10
    blocks = vocals[:, : vocals.shape[-1] // block * block].reshape(2, -1, block)
    level = np.sqrt(np.mean(blocks**2, axis=(0, 2)))
    assert 0.15 < np.mean(level < np.abs(vocals).max() * 10 ** (-50 / 20)) < 0.6


@pytest.mark.parametrize("name", RANGES)
def test_singer_is_in_tune(name: str) -> None:
    generator = np.random.default_rng(0)
    voice = draw_voice(name, generator)
    pitch = voice.lowest_pitch + 7.0
    sound = sing([Note(0.4, 1.2, pitch)], 2.0, voice, generator)
    # Compare the power at the harmonics with the power halfway between them.
    sustained = sound[0, round(0.6 * SAMPLE_RATE) : round(1.5 * SAMPLE_RATE)]
    frequency, power = welch(sustained, SAMPLE_RATE, nperseg=8192)
    harmonics = hertz(pitch) * np.arange(1, 5)
    on, between = (
        sum(power[np.abs(frequency / centre - 1) < 0.04].sum() for centre in centres)
        for centres in (harmonics, harmonics + hertz(pitch) / 2)
    )
    assert on > 30 * between
    before = np.abs(sound[:, : round(0.1 * SAMPLE_RATE)]).max()
    assert before < 1e-3 * np.abs(sound).max()


def test_file_has_the_streams_of_musdb18(song: dict[str, np.ndarray], tmp_path: Path) -> None:
    excerpt = {name: stem[:, : 8 * SAMPLE_RATE] for name, stem in song.items()}
    path = tmp_path / "song.stem.mp4"
    write_song(path, excerpt)
    with av.open(str(path)) as container:
        assert len(container.streams) == 5
        for stream in container.streams.audio:
            codec = stream.codec_context
            assert (codec.name, codec.sample_rate, codec.layout.name) == ("aac", 44100, "stereo")
    length = excerpt["drums"].shape[-1]
    mixture, *stems = (sound[:, :length] for sound in decoded(path))
    assert decibels(mixture, mixture - np.sum(stems, axis=0)) > 20
    for stem, name in zip(stems, STEMS, strict=True):  # checks their order and time shift
        assert decibels(excerpt[name], excerpt[name] - stem) > 15


def test_corpus_is_written_once(tmp_path: Path, short_songs: list[str]) -> None:
    reports: list[tuple[int, int]] = []
    write_demo_corpus(tmp_path, report=lambda done, songs: reports.append((done, songs)))
    assert reports == [(done, 16) for done in range(17)]
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert set(files) == {song_path(tmp_path, name) for name in SONGS}
    assert sorted(short_songs) == sorted(SONGS)
    write_demo_corpus(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_interrupted_corpus_is_continued(
    tmp_path: Path, short_songs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_demo_corpus(tmp_path)
    missing = song_path(tmp_path, SONGS[5])
    missing.rename(missing.with_name(f"{missing.name}.partial"))  # leftover of a killed writer
    short_songs.clear()
    write_demo_corpus(tmp_path)
    assert short_songs == [SONGS[5]]
    assert missing.exists()


def test_failed_song_leaves_no_file(tmp_path: Path) -> None:
    unequal = {name: np.zeros((2, 4096 + number), np.float32) for number, name in enumerate(STEMS)}
    with pytest.raises(ValueError, match="shape"):
        write_song(tmp_path / "song.stem.mp4", unequal)
    assert list(tmp_path.iterdir()) == []


def test_validation_tracks_are_training_songs() -> None:
    assert len(set(TRAIN_SONGS)) == 12
    assert len(set(TEST_SONGS)) == 4
    assert len(set(VALIDATION_TRACKS)) == 2
    assert set(VALIDATION_TRACKS) < set(TRAIN_SONGS)
