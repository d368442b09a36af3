"""Reading and writing audio files, and errors about damaged files."""

import re
import struct
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from scipy.signal import correlate

from stemsplit import audio
from stemsplit.audio.encoding import Writer
from stemsplit.errors import InputError

RATE = 32000  # every codec here supports this rate, and it is no default


def tone(hertz: float, seconds: float, rate: int) -> np.ndarray:
    """A sine wave `(1, time)` in float32."""
    time = np.arange(round(seconds * rate)) / rate
    return np.sin(2 * np.pi * hertz * time).astype(np.float32)[None]


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    """A sweep on the left and a tone on the right, 2 s: shifted or swapped channels differ."""
    time = np.arange(2 * RATE) / RATE
    left = 0.5 * np.sin(2 * np.pi * (200 * time + 300 * time**2))
    return np.stack([left, 0.2 * np.sin(2 * np.pi * 500 * time)]).astype(np.float32)


def encode_mp4(path: Path, sounds: list[np.ndarray], **options: str) -> None:
    """Write one stereo AAC stream per sound."""
    with av.open(str(path), "w", format="mp4", options=options) as container:
        streams = [container.add_stream("aac", rate=RATE, layout="stereo") for _ in sounds]
        for stream, sound in zip(streams, sounds, strict=True):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound), "fltp", "stereo")
            frame.sample_rate = RATE
            frame.time_base = Fraction(1, RATE)
            frame.pts = 0
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))


def write_as(subtype: str | None) -> Callable[[Path, np.ndarray], None]:
    return lambda path, sound: soundfile.write(path, sound.T, RATE, subtype)


# For each file: writer, whether 16 bits suffice, tolerance of a sample (None for a lossy format).
FORMATS = {
    "int8.wav": (write_as("PCM_U8"), True, 2**-7),
    "int16.wav": (write_as("PCM_16"), True, 2**-15),
    "int24.wav": (write_as("PCM_24"), False, 2**-22),
    "float.wav": (write_as("FLOAT"), False, 0),
    "double.wav": (write_as("DOUBLE"), False, 0),
    "int16.flac": (write_as("PCM_16"), True, 2**-15),
    "int24.flac": (write_as("PCM_24"), False, 2**-22),
    "song.mp3": (write_as(None), True, None),
    "song.ogg": (write_as(None), True, None),
    "song.m4a": (lambda path, sound: encode_mp4(path, [sound]), True, None),
}


@pytest.mark.parametrize("name", FORMATS)
def test_read_returns_the_written_samples(name: str, sound: np.ndarray, tmp_path: Path) -> None:
    write, sixteen_bit, tolerance = FORMATS[name]
    write(tmp_path / name, sound)
    read = audio.read(tmp_path / name)
    assert read.sample_rate == RATE
    assert read.sixteen_bit is sixteen_bit
    assert read.samples.dtype == np.float32
    if tolerance is not None:
        assert read.samples.shape == sound.shape
        assert np.abs(read.samples - sound).max() <= tolerance
        return
    # A lossy encoder may remove or add a few frames at the start and the end.
    assert read.samples.shape[0] == 2
    assert abs(read.samples.shape[1] - sound.shape[1]) < 0.1 * RATE
    start, time = round(0.5 * RATE), RATE
    middle = sound[:, start : start + time]
    lag = np.argmax(correlate(read.samples[0], middle[0], "valid"))
    assert abs(lag - start) < 0.1 * RATE
    assert np.square(read.samples[:, lag : lag + time] - middle).mean() < 1e-4


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_any_number_of_channels_is_read(channels: int, tmp_path: Path) -> None:
    sound = np.random.default_rng(0).uniform(-1, 1, (channels, 1000)).astype(np.float32)
    soundfile.write(tmp_path / "song.wav", sound.T, RATE, "FLOAT")
    np.testing.assert_array_equal(audio.read(tmp_path / "song.wav").samples, sound)


def test_streams_have_the_requested_order(sound: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "song.stem.mp4"
    encode_mp4(path, [sound, 0.5 * sound, 0 * sound])
    levels = [stream.samples.std() / sound.std() for stream in audio.read_streams(path, [2, 0, 1])]
    np.testing.assert_allclose(levels, [0, 1, 0.5], atol=0.02)
    with pytest.raises(InputError, match=r"song\.stem\.mp4: has 3 audio streams, but 5 are needed"):
        audio.read_streams(path, range(5))


def test_lossy_stream_may_exceed_one(tmp_path: Path) -> None:
    square = np.sign(tone(100, 2, RATE)).repeat(2, axis=0)
    encode_mp4(tmp_path / "loud.m4a", [square])
    assert np.abs(audio.read(tmp_path / "loud.m4a").samples).max() > 1.01


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_are_refused(value: float, sound: np.ndarray, tmp_path: Path) -> None:
    broken = sound.copy()
    broken[1, round(1.25 * RATE) : round(1.25 * RATE) + 3] = value
    soundfile.write(tmp_path / "broken.wav", broken.T, RATE, "FLOAT")
    with pytest.raises(InputError, match=r"broken\.wav: 3 samples with NaN .* at 1\.25 s"):
        audio.read(tmp_path / "broken.wav")


TRUNCATED = {
    **{name: FORMATS[name][0] for name in ("int16.wav", "float.wav", "int16.flac")},
    "index_last.m4a": lambda path, sound: encode_mp4(path, [sound]),
    "index_first.m4a": lambda path, sound: encode_mp4(path, [sound], movflags="faststart"),
    "five.stem.mp4": lambda path, sound: encode_mp4(path, 5 * [sound], movflags="faststart"),
}


@pytest.mark.parametrize("name", TRUNCATED)
@pytest.mark.parametrize("kept", [0.1, 0.7])
def test_truncated_file_is_refused(
    name: str, kept: float, sound: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / name
    TRUNCATED[name](path, sound)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match=re.escape(str(path))):
        audio.read(path)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000])
def test_piped_wav_without_length_is_read(size: int, sound: np.ndarray, tmp_path: Path) -> None:
    """ffmpeg and sox write such files into a pipe."""
    path = tmp_path / "piped.wav"
    soundfile.write(path, sound.T, RATE, "PCM_16")
    content = bytearray(path.read_bytes())
    data = content.index(b"data")
    content[4:8] = content[data + 4 : data + 8] = struct.pack("<I", size)
    path.write_bytes(content)
    assert audio.read(path).samples.shape == sound.shape


@pytest.mark.parametrize("content", [b"", b"not a song", bytes(5000)])
def test_file_without_audio_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "letter.wav"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"letter\.wav"):
        audio.read(path)


def test_missing_and_empty_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.wav: does not exist"):
        audio.read(tmp_path / "absent.wav")
    with pytest.raises(InputError, match=re.escape(str(tmp_path))):
        audio.read(tmp_path)
    (tmp_path / "nothing.mp3").touch()
    with pytest.raises(InputError, match=r"nothing\.mp3: is an empty file"):
        audio.read(tmp_path / "nothing.mp3")
    soundfile.write(tmp_path / "empty.wav", np.zeros((0, 2)), RATE)
    with pytest.raises(InputError, match=r"empty\.wav: .* is empty"):
        audio.read(tmp_path / "empty.wav")


def test_tags_in_latin_1_are_accepted(sound: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "tagged.wav"
    soundfile.write(path, sound.T, RATE, "PCM_16")
    content = path.read_bytes()
    title = "Café noir ".encode("latin-1")
    title = b"INFO" + b"INAM" + struct.pack("<I", len(title)) + title
    content = content[:36] + b"LIST" + struct.pack("<I", len(title)) + title + content[36:]
    path.write_bytes(content[:4] + struct.pack("<I", len(content) - 8) + content[8:])
    assert audio.read(path).samples.shape == sound.shape


@pytest.mark.parametrize("name", ["Song: one.wav", "100 %d.wav", "Ünïcode ♪.wav", "-o.wav"])
def test_any_file_name_is_read(
    name: str, sound: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    audio.write(Path(name), sound, RATE)
    np.testing.assert_array_equal(audio.read(Path(name)).samples, sound)


@pytest.mark.parametrize(("channels", "rate"), [(1, RATE), (2, 48000)])
def test_change_of_rate_or_channels_is_refused(
    channels: int, rate: int, sound: np.ndarray, tmp_path: Path
) -> None:
    """Two joined MP3 files: the second would be read at a wrong speed."""
    soundfile.write(tmp_path / "first.mp3", sound.T, RATE)
    soundfile.write(tmp_path / "second.mp3", sound[:channels].T, rate)
    joined = tmp_path / "joined.mp3"
    joined.write_bytes(b"".join((tmp_path / f"{n}.mp3").read_bytes() for n in ("first", "second")))
    with pytest.raises(InputError, match=r"joined\.mp3"):
        audio.read(joined)


def test_write_and_read_are_inverse(sound: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "loud.wav"
    audio.write(path, 5 * sound, RATE)
    read = audio.read(path)
    np.testing.assert_array_equal(read.samples, 5 * sound)
    assert (read.sample_rate, read.sixteen_bit) == (RATE, False)
    assert list(path.parent.iterdir()) == [path]


def test_interrupted_write_keeps_the_old_file(
    sound: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "stem.wav"
    audio.write(path, sound, RATE)

    write = Writer.write

    def interrupted(writer: Writer, samples: np.ndarray) -> None:
        write(writer, samples[:, : samples.shape[1] // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Writer, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        audio.write(path, 0 * sound, RATE)
    np.testing.assert_array_equal(audio.read(path).samples, sound)
    assert list(tmp_path.iterdir()) == [path]


def test_two_threads_can_write_the_same_file(
    sound: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "stem.wav"
    both_have_written = threading.Barrier(2, timeout=10)
    write = soundfile.SoundFile.write

    def slow(file: soundfile.SoundFile, samples: np.ndarray) -> None:
        write(file, samples)
        both_have_written.wait()

    monkeypatch.setattr(soundfile.SoundFile, "write", slow)
    with ThreadPoolExecutor(2) as pool:
        for job in [pool.submit(audio.write, path, sound, RATE) for _ in range(2)]:
            job.result()
    np.testing.assert_array_equal(audio.read(path).samples, sound)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("source", "target"), [(48000, 44100), (44100, 48000), (44100, 16000)])
def test_resampling_keeps_a_tone(source: int, target: int) -> None:
    resampled = audio.resample(tone(997, 1, source), source, target)
    expected = tone(997, 1, target)
    assert resampled.shape == expected.shape
    assert resampled.dtype == np.float32
    middle = slice(target // 10, -target // 10)
    np.testing.assert_allclose(resampled[:, middle], expected[:, middle], atol=1e-5)


def test_resampling_removes_frequencies_above_the_limit() -> None:
    swelling = tone(15000, 1, 44100) * np.hanning(44100).astype(np.float32)
    assert np.abs(audio.resample(swelling, 44100, 22050)).max() < 1e-4


def test_channels_are_resampled_independently(sound: np.ndarray) -> None:
    resampled = audio.resample(sound, RATE, 44100)
    for row, channel in zip(resampled, sound, strict=True):
        np.testing.assert_allclose(row, audio.resample(channel[None], RATE, 44100)[0], atol=1e-6)
    np.testing.assert_array_equal(audio.resample(sound, RATE, RATE), sound)


def test_mono_is_copied_and_stereo_is_averaged(sound: np.ndarray) -> None:
    np.testing.assert_array_equal(audio.with_channels(sound, 2), sound)
    mono = audio.with_channels(sound, 1)
    np.testing.assert_allclose(mono, (sound[:1] + sound[1:]) / 2, atol=1e-7)
    np.testing.assert_array_equal(audio.with_channels(mono, 2), np.concatenate([mono, mono]))
    with pytest.raises(InputError, match="2 channels cannot be converted to 6"):
        audio.with_channels(sound, 6)


def test_playlist_is_refused(tmp_path: Path) -> None:
    # FFmpeg would open the files that it names, wherever they are.
    soundfile.write(tmp_path / "secret.wav", np.zeros((800, 2)), 8000)
    for name, content in (
        ("list.mp3", "ffconcat version 1.0\nfile secret.wav\n"),
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.wav\n#EXT-X-ENDLIST\n"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match="cannot be decoded"):
            audio.read_song(tmp_path / name)
