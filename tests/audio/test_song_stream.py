"""Streamed decoding: the samples of `read_song`, in constant memory, with all files closed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from scipy.signal import correlate

from stemsplit import audio
from stemsplit.audio.lengths import Clock
from stemsplit.audio.timeline import Timeline
from stemsplit.errors import InputError

RATE = 32000


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    """Five seconds of stereo noise: longer than two blocks."""
    random = np.random.default_rng(0)
    return (0.1 * random.standard_normal((2, 5 * RATE))).astype(np.float32)


def streamed(path: Path) -> tuple[np.ndarray, list[str]]:
    with audio.open_song(path) as song:
        blocks = list(song)
        return np.concatenate(blocks, axis=1), song.losses


def as_format(subtype: str | None) -> Callable[[Path, np.ndarray], None]:
    return lambda path, sound: soundfile.write(path, sound.T, RATE, subtype)


def with_noise_inside(path: Path, sound: np.ndarray) -> None:
    soundfile.write(path, sound.T, RATE)
    content = path.read_bytes()
    middle = len(content) // 2
    noise = np.random.default_rng(1).bytes(400)
    path.write_bytes(content[:middle] + noise + content[middle + 400 :])


def cut_off(path: Path, sound: np.ndarray) -> None:
    soundfile.write(path, sound.T, RATE)
    content = path.read_bytes()
    path.write_bytes(content[: int(0.6 * len(content))])


def joined(rates: list[int], channels: list[int]) -> Callable[[Path, np.ndarray], None]:
    def write(path: Path, sound: np.ndarray) -> None:
        content = b""
        for rate, count in zip(rates, channels, strict=True):
            soundfile.write(path, sound[:count].T, rate)
            content += path.read_bytes()
        path.write_bytes(content)

    return write


def start_late(path: Path, sound: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE, layout="stereo")
        integers = np.rint(sound * 32768).astype(np.int16).T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(integers), "s16", "stereo")
        frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), 3 * RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


FILES = {
    "int16.wav": as_format("PCM_16"),
    "float.wav": as_format("FLOAT"),
    "int24.flac": as_format("PCM_24"),
    "song.mp3": as_format(None),
    "song.ogg": as_format(None),
    "damaged.flac": with_noise_inside,
    "damaged.mp3": with_noise_inside,
    "damaged.ogg": with_noise_inside,
    "cut.wav": cut_off,
    "cut.flac": cut_off,
    "joined.flac": joined([RATE, RATE], [2, 2]),
    "other_rate.mp3": joined([RATE, 48000, RATE, 44100], [2, 2, 2, 2]),
    "other_channels.mp3": joined([RATE, RATE], [1, 2]),
    "other_form.mp3": joined([RATE, 22050, 48000], [2, 1, 2]),
    "late.mkv": start_late,
}


@pytest.mark.parametrize("name", FILES)
def test_blocks_are_the_samples_of_the_whole_read(
    name: str, sound: np.ndarray, tmp_path: Path
) -> None:
    FILES[name](tmp_path / name, sound)
    whole = audio.read_song(tmp_path / name)
    samples, losses = streamed(tmp_path / name)
    np.testing.assert_array_equal(samples, whole.audio.samples)
    assert losses == whole.losses
    assert bool(losses) == (name.split(".")[0] in {"damaged", "cut", *NAMES_OF_JOINED})
    with audio.open_song(tmp_path / name) as song:
        lengths = [block.shape[1] for block in song]
    assert min(lengths[:-1]) >= 2**16  # blocks are long enough to be worth a call
    form = (song.sample_rate, song.channels, song.layout)
    first = whole.audio
    assert form == (first.sample_rate, len(first.samples), first.layout)


NAMES_OF_JOINED = {"joined", "other_rate", "other_channels", "other_form"}


def test_change_of_rate_is_resampled_without_seams_between_frames(sound: np.ndarray) -> None:
    timeline = Timeline(Clock(0.0, 0.0, 1 / RATE, False), None, True, 0.0)
    blocks = []
    for rate, length in ((RATE, 4096), (48000, 1152)):
        for start in range(0, sound.shape[1], length):
            piece = np.ascontiguousarray(sound[:, start : start + length])
            frame = av.AudioFrame.from_ndarray(piece, "fltp", "stereo")
            frame.sample_rate = rate
            blocks += timeline.add(frame)
    samples = np.concatenate([*blocks, *timeline.end()], axis=1)
    expected = np.concatenate([sound, audio.resample(sound, 48000, RATE)], axis=1)
    np.testing.assert_array_equal(samples, expected)


def test_wrong_time_stamp_of_vorbis_leaves_no_gap(tmp_path: Path) -> None:
    """FFmpeg gives one packet of the first page a time stamp that is 448 samples too late."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 44100)).astype(np.float32)
    path = tmp_path / "noise.ogg"
    with soundfile.SoundFile(path, "w", 44100, 2, "VORBIS", compression_level=0.2) as file:
        for start in range(0, 44100, 10_007):
            file.write(noise[:, start : start + 10_007].T)
    with av.open(str(path)) as container:
        ends = [0]
        for packet in container.demux():
            if packet.pts is not None:
                wrong = packet.pts > ends[-1]
                ends.append(packet.pts + (packet.duration or 0))
                if wrong:
                    break
        assert wrong
    samples, losses = streamed(path)
    assert losses == []
    assert samples.shape == noise.shape
    assert np.argmax(correlate(samples[0], noise[0])) == noise.shape[1] - 1


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_nan_is_refused_at_its_block(value: float, sound: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "broken.wav"
    broken = sound.copy()
    broken[1, round(3.25 * RATE)] = value
    soundfile.write(path, broken.T, RATE, "FLOAT")
    with audio.open_song(path) as song:
        blocks = iter(song)
        np.testing.assert_array_equal(next(blocks), sound[:, : 2**16])
        with pytest.raises(InputError, match=r"broken\.wav: 1 sample with NaN .* at 3\.25 s"):
            next(blocks)


DEPTHS = {
    "PCM_U8.wav": "16",
    "PCM_16.wav": "16",
    "PCM_24.wav": "24",
    "PCM_32.wav": "24",
    "FLOAT.wav": "32f",
    "DOUBLE.wav": "32f",
    "PCM_16.flac": "16",
    "PCM_24.flac": "24",
    "MPEG_LAYER_III.mp3": "16",
    "VORBIS.ogg": "16",
}


@pytest.mark.parametrize("name", DEPTHS)
def test_bit_depth_and_length_are_those_of_the_file(
    name: str, sound: np.ndarray, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / name, sound.T, RATE, Path(name).stem)
    with audio.open_song(tmp_path / name) as song:
        assert song.bit_depth == DEPTHS[name]
        assert song.declared_seconds == pytest.approx(5, abs=1e-6)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_lossless_codec_of_24_bits_keeps_its_bit_depth(tmp_path: Path) -> None:
    path = tmp_path / "song.mka"
    noise = "anoisesrc=duration=1:sample_rate=48000"
    words = ["-f", "lavfi", "-i", noise, "-ac", "2", "-c:a", "truehd", "-strict", "-2"]
    subprocess.run(["ffmpeg", *words, "-sample_fmt", "s32", str(path)], check=True)
    with audio.open_song(path) as song:
        assert song.bit_depth == "24"


def test_ambisonics_cannot_be_mixed_down() -> None:
    mix, _ = audio.downmixer("ambisonic 1", 4, 2)
    with pytest.raises(InputError, match=r"4 channels \(ambisonic 1\) cannot be mixed to stereo"):
        mix(np.eye(4, dtype=np.float32))


def test_blocks_of_surround_sound_are_mixed_like_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "surround.wav"
    sound = np.random.default_rng(0).uniform(-1, 1, (6, 5 * RATE)).astype(np.float32)
    soundfile.write(path, sound.T, RATE, "FLOAT")
    whole, whole_note = audio.downmix(audio.read(path), 2)
    with audio.open_song(path) as song:
        mix, note = audio.downmixer(song.layout, song.channels, 2)
        pieces = [mix(block[:, i::2]) for block in song for i in (0, 1)]
    mixed = np.empty_like(whole.samples)
    start = 0
    for even, odd in zip(pieces[::2], pieces[1::2], strict=True):
        end = start + even.shape[1] + odd.shape[1]
        mixed[:, start:end:2], mixed[:, start + 1 : end : 2] = even, odd
        start = end
    np.testing.assert_array_equal(mixed, whole.samples)
    assert note == whole_note


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's list of open files")
def test_files_are_closed_after_every_kind_of_end(sound: np.ndarray, tmp_path: Path) -> None:
    good, bad, empty = (tmp_path / name for name in ("good.flac", "bad.flac", "empty.wav"))
    soundfile.write(good, sound.T, RATE)
    bad.write_bytes(b"fLaC" + bytes(5000))
    soundfile.write(empty, np.zeros((0, 2)), RATE)
    before = open_files()
    kept = []
    for _ in range(5):
        with audio.open_song(good) as song:
            kept.append(iter(song))
            next(kept[-1])
        for path in (bad, empty, tmp_path, tmp_path / "absent.wav"):
            with pytest.raises(InputError), audio.open_song(path) as song:
                list(song)
        with pytest.raises(ZeroDivisionError), audio.open_song(good) as song:
            next(iter(song))[0, 0] = 1 // 0
    assert open_files() == before


def test_error_of_the_caller_is_not_taken_for_a_damaged_song(
    sound: np.ndarray, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "song.wav", sound.T, RATE)
    with pytest.raises(OSError, match="disk is full"), audio.open_song(tmp_path / "song.wav"):
        raise OSError(28, "disk is full")


MEASURE = """
import resource, sys
from pathlib import Path
from stemsplit.audio import open_song
for path in sys.argv[1:]:
    with open_song(Path(path)) as song:
        for block in song:
            pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the memory has another unit")
def test_memory_does_not_depend_on_the_length(tmp_path: Path) -> None:
    """Decoded at once, ten minutes would take 202 MiB more than ten seconds."""
    kibibytes = []
    for seconds in (10, 600):
        paths = [tmp_path / f"{seconds}.{form}" for form in ("wav", "flac")]
        for path in paths:
            with soundfile.SoundFile(path, "w", 44100, 2) as file:
                for _ in range(seconds // 10):
                    file.write(np.zeros((441000, 2), np.int16))
        kibibytes.append(int(subprocess.check_output([sys.executable, "-c", MEASURE, *paths])))
    assert abs(kibibytes[1] - kibibytes[0]) < 15 * 1024
