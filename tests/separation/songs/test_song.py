"""Separating one song file: lengths, sums, forms, levels, tags, progress and memory."""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch
from tiny_separator import FRONT_END, MLP, RATE, checkpoint_for, files_in, song_at

import stemsplit
from stemsplit import audio
from stemsplit.errors import Cancelled, InputError
from stemsplit.separation.checkpoint import build
from stemsplit.separation.separator import Separator

FOUR = ("drums", "bass", "other", "vocals")


@pytest.fixture(scope="module")
def separator() -> Separator:
    """A separator of four stems without a residual."""
    torch.manual_seed(0)
    return build(FRONT_END, MLP, FOUR, None, 2, 1, 0.5, 0.1).eval()


def read(paths: dict[str, Path]) -> np.ndarray:
    return np.stack([soundfile.read(path, always_2d=True)[0].T for path in paths.values()])


@pytest.mark.parametrize("form", ["wav", "flac"])
@pytest.mark.parametrize("bit_depth", ["16", "24"])
@pytest.mark.parametrize(("rate", "channels"), [(RATE, 2), (RATE, 1), (44100, 2)])
def test_stems_sum_to_the_song_to_one_step(
    separator: Separator, tmp_path: Path, form: str, bit_depth: str, rate: int, channels: int
) -> None:
    song = song_at(tmp_path / "a.wav", 1.3, rate, channels, f"PCM_{bit_depth}")
    result = stemsplit.separate_file(song, tmp_path, separator, format=form)
    stems, (samples, _) = read(result.paths), soundfile.read(song, always_2d=True)
    assert stems.shape[1:] == samples.T.shape
    step = 2.0 ** (1 - int(bit_depth))
    assert np.abs(stems.sum(axis=0) - samples.T).max() <= 1.001 * step
    assert {soundfile.info(path).subtype for path in result.paths.values()} == {f"PCM_{bit_depth}"}
    assert result.seconds == pytest.approx(1.3, abs=1 / rate)
    assert result.notes == []


@pytest.mark.parametrize("form", ["mp3", "ogg", "m4a"])
@pytest.mark.parametrize("rate", [RATE, 44100])
def test_lossy_stems_have_the_length_of_the_song(
    separator: Separator, tmp_path: Path, form: str, rate: int
) -> None:
    song = song_at(tmp_path / "a.wav", 1.3, rate)
    result = stemsplit.separate_file(song, tmp_path, separator, format=form, bitrate=128)
    for path in result.paths.values():
        stem = audio.read_song(path).audio
        assert stem.sample_rate == rate
        assert abs(stem.samples.shape[1] - round(1.3 * rate)) <= 1152


def test_stem_mp4_holds_the_song_and_its_stems_in_order(
    separator: Separator, tmp_path: Path
) -> None:
    song = tmp_path / "a.wav"
    hertz = np.random.default_rng(0).uniform(50, 3000, (20, 2))  # AAC cannot code noise well
    tones = np.sin(2 * np.pi * hertz * np.arange(2 * 44100)[:, None, None] / 44100)
    soundfile.write(song, 0.02 * tones.sum(axis=1), 44100)
    result = stemsplit.separate_file(song, tmp_path / "out", separator, format="stem.mp4")
    stems = stemsplit.separate_file(song, tmp_path / "out", separator)
    assert files_in(tmp_path / "out") == sorted(["a.stem.mp4", *(f"a/{stem}.wav" for stem in FOUR)])
    assert set(result.paths.values()) == {tmp_path / "out/a.stem.mp4"}
    mixture, *decoded = [
        stream.samples for stream in audio.read_streams(tmp_path / "out/a.stem.mp4", range(5))
    ]
    expected = read({stem: stems.paths[stem] for stem in FOUR})
    for actual, wanted in zip(decoded, expected, strict=True):
        time = min(actual.shape[1], wanted.shape[1])
        difference = actual[:, :time] - wanted[:, :time]
        assert np.square(difference).mean() < 0.1 * np.square(wanted).mean()
    assert abs(mixture.shape[1] - 2 * 44100) <= 1024


def test_stem_mp4_needs_four_stems(tmp_path: Path) -> None:
    checkpoint = checkpoint_for(tmp_path / "a.ckpt", "vocals")
    song = song_at(tmp_path / "a.wav")
    with pytest.raises(InputError, match="holds drums, bass, other, vocals, but this separator"):
        stemsplit.separate_file(song, tmp_path / "out", checkpoint, format="stem.mp4")
    assert not (tmp_path / "out").exists()


def loud_song(path: Path) -> Path:
    """A floating-point song that reaches 4 in a tenth of its samples."""
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (RATE, 2)).astype(np.float32)
    samples[::10] *= 8
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    return path


@pytest.mark.parametrize(
    ("clip", "bit_depth", "peak"),
    [("report", "16", 1), ("report", "32f", 4), ("clamp", "24", 1), ("clamp", "32f", 1),
     ("rescale", "16", 1), ("rescale", "32f", 1), ("none", "32f", 4)],
)  # fmt: skip
def test_samples_beyond_full_scale(tmp_path: Path, clip: str, bit_depth: str, peak: float) -> None:
    # The separator leaves most of the song to its residual.
    checkpoint = checkpoint_for(tmp_path / "a.ckpt", "vocals")
    song = loud_song(tmp_path / "a.wav")
    result = stemsplit.separate_file(
        song, tmp_path / "out", checkpoint, clip=clip, bit_depth=bit_depth
    )
    stems, (samples, _) = read(result.paths), soundfile.read(song)
    assert np.abs(stems).max() <= peak
    assert (np.abs(stems).max() > 1) == (peak > 1)
    notes = " ".join(result.notes)
    assert ("clipped to full scale: " in notes) == ((clip, bit_depth) == ("report", "16"))
    assert ("multiplied by" in notes) == (clip == "rescale")
    if clip == "rescale":
        total = stems.sum(axis=0)
        factor = np.vdot(total, samples.T) / np.vdot(samples, samples)
        assert 0.1 < factor < 0.9
        np.testing.assert_allclose(total, factor * samples.T, atol=1e-4)


@pytest.mark.parametrize("form", ["wav", "flac"])
def test_depth_of_a_floating_point_song(separator: Separator, tmp_path: Path, form: str) -> None:
    song = song_at(tmp_path / "a.wav", subtype="FLOAT")
    result = stemsplit.separate_file(song, tmp_path, separator, format=form)
    subtype = {"wav": "FLOAT", "flac": "PCM_24"}[form]
    assert {soundfile.info(path).subtype for path in result.paths.values()} == {subtype}


@pytest.mark.parametrize("form", ["wav", "flac", "mp3", "ogg", "m4a"])
def test_tags_of_the_song_are_kept(separator: Separator, tmp_path: Path, form: str) -> None:
    song = tmp_path / "a.flac"
    with soundfile.SoundFile(song, "w", RATE, 2, "PCM_16", format="FLAC") as file:
        file.title, file.artist = "Tünes", "Someone"
        file.write(np.zeros((RATE, 2)))
    result = stemsplit.separate_file(song, tmp_path / "out", separator, format=form)
    for path in result.paths.values():
        with av.open(str(path)) as container:
            tags = {**container.streams.audio[0].metadata, **container.metadata}
        tags = {name.lower(): value for name, value in tags.items()}
        assert (tags["title"], tags["artist"]) == ("Tünes", "Someone")


def test_progress_rises_to_one_and_can_cancel(separator: Separator, tmp_path: Path) -> None:
    song = song_at(tmp_path / "a.wav", 20)
    fractions: list[float] = []
    stemsplit.separate_file(song, tmp_path / "out", separator, progress=fractions.append)
    assert fractions == sorted(fractions)
    assert len(fractions) > 2
    assert fractions[-1] == 1.0
    before = files_in(tmp_path)
    with pytest.raises(Cancelled):
        stemsplit.separate_file(song, tmp_path / "new", separator, progress=lambda _: False)
    assert files_in(tmp_path) == before
    assert not (tmp_path / "new").exists()


def test_shifted_and_overlapping_chunks_change_the_stems(
    separator: Separator, tmp_path: Path
) -> None:
    song = song_at(tmp_path / "a.wav", 2, subtype="FLOAT")

    def stems(**settings: float) -> np.ndarray:
        return read(stemsplit.separate_file(song, tmp_path / "out", separator, **settings).paths)

    usual = stems()
    for settings in ({"shifts": 2}, {"chunk_seconds": 0.3}, {"wiener_iterations": 0}):
        assert np.abs(stems(**settings) - usual).max() > 1e-4
    np.testing.assert_allclose(stems(batch=3), usual, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"format": "aiff"}, "format 'aiff': unknown"), ({"clip": "loud"}, "clip 'loud': unknown"),
     ({"format": "flac", "bit_depth": "32f"}, "flac has no bit depth of 32f"),
     ({"format": "mp3", "bit_depth": "16"}, "mp3 has no bit depth"),
     ({"bitrate": 128}, "wav is lossless"), ({"clip": "none", "bit_depth": "16"}, "clip none: 16"),
     ({"stems": ["vocals"], "two_stems": "vocals"}, "exclude each other"),
     ({"stems": ["piano"]}, "'piano'"), ({"two_stems": "piano"}, "'piano'"),
     ({"format": "stem.mp4", "stems": ["vocals"]}, "always holds four stems"),
     ({"format": "stem.mp4", "bit_depth": "16"}, "no bit depth"),
     ({"name": "{title}/{stem}"}, "unknown field"), ({"shifts": 0}, "shifts 0 must"),
     ({"wiener_iterations": -1}, "0 or more"), ({"overlap_seconds": 9.0}, "cannot overlap")],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused(
    separator: Separator, tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    song = song_at(tmp_path / "a.wav")
    with pytest.raises(InputError, match=message):
        stemsplit.separate_file(song, tmp_path / "out", separator, **settings)
    assert files_in(tmp_path) == ["a.wav"]


IMPORTS = """
import sys
before = set(sys.modules)
import stemsplit, stemsplit.separate
stemsplit.separate_file, stemsplit.load
heavy = {"lightning", "hydra", "omegaconf", "wandb", "musdb", "museval", "librosa", "matplotlib"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
COST = """
import time
import torch, av, soundfile, soxr
start = time.process_time()
import stemsplit
assert "stemsplit.separation" not in __import__("sys").modules
print(time.process_time() - start)
"""


def test_separating_imports_no_training_packages() -> None:
    subprocess.run([sys.executable, "-c", IMPORTS], check=True)


def test_importing_the_package_is_cheap() -> None:
    ended = subprocess.run([sys.executable, "-c", COST], check=True, capture_output=True, text=True)
    assert float(ended.stdout) < 0.1


MEMORY = """
import resource, sys
import stemsplit
separator = stemsplit.load(sys.argv[1])
result = stemsplit.separate_file(sys.argv[2], sys.argv[3], separator, format="flac")
print(result.seconds, result.real_time_factor, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_memory(song: Path, checkpoint: Path, output: Path) -> float:
    command = [sys.executable, "-c", MEMORY, str(checkpoint), str(song), str(output)]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, factor, peak = map(float, ended.stdout.split())
    print(f"{seconds:.0f} s: peak {peak / 1024:.0f} MiB, real-time factor {factor:.4f}")
    return peak


def long_song(path: Path, minutes: int) -> Path:
    block = np.random.default_rng(0).uniform(-0.01, 0.01, (60 * 11025, 2)).astype(np.float32)
    with soundfile.SoundFile(path, "w", 11025, 2, "PCM_16") as file:
        for _ in range(minutes):
            file.write(block)
    return path


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has another unit elsewhere")
def test_two_hours_need_as_much_memory_as_one_minute(tmp_path: Path) -> None:
    checkpoint = checkpoint_for(tmp_path / "a.ckpt", "vocals")
    minute = peak_memory(long_song(tmp_path / "1.flac", 1), checkpoint, tmp_path)
    hours = peak_memory(long_song(tmp_path / "120.flac", 120), checkpoint, tmp_path)
    assert hours <= 1.1 * minute
    assert soundfile.info(tmp_path / "120/vocals.flac").frames == 120 * 60 * 11025
