"""Writing stems: exact samples, lengths and positions, tags, and early errors."""

import errno
import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from full_disk import no_file_larger_than
from scipy.signal import correlate

from stemsplit import audio
from stemsplit.audio import encoders
from stemsplit.audio.encoding import FORMATS, Encoding, check_encoding, open_writer, output_rate
from stemsplit.errors import InputError
from stemsplit.files import replacing

LOSSY = ("mp3", "ogg", "m4a")
TAGS = {
    "title": "Ünïcode ♪ \"quoted\" 'title'",
    "artist": "a=b; c\\d",
    "album": "Two\nlines",
    "date": "1999",
    "genre": "Rock",
    "track": "3/12",
}


def music(seconds: float, rate: int, channels: int = 2) -> np.ndarray:
    """Noise with the falling spectrum of music that starts and ends softly."""
    noise = np.random.default_rng(0).standard_normal((channels, round(seconds * rate)))
    spectrum = np.fft.rfft(noise)
    hertz = np.fft.rfftfreq(noise.shape[1], 1 / rate)
    sound = np.fft.irfft(spectrum / (200 + hertz) ** 1.5 * (hertz > 30), noise.shape[1])
    sound *= np.minimum(1, 20 * np.hanning(sound.shape[1]))
    return (0.5 * sound / np.abs(sound).max()).astype(np.float32)


def read(path: Path) -> audio.Audio:
    """What a user's program gets: a file without padding and without losses."""
    song = audio.read_song(path)
    assert song.losses == []
    return song.audio


def written(
    path: Path,
    encoding: Encoding,
    sound: np.ndarray,
    rate: int,
    tags: dict[str, str] | None = None,
    block: int = 10007,
) -> list[str]:
    with open_writer(path, encoding, rate, len(sound), tags) as writer:
        for start in range(0, sound.shape[1], block):
            writer.write(sound[:, start : start + block])
    return writer.notes


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 8])
@pytest.mark.parametrize(
    ("form", "bit_depth"),
    [("wav", "16"), ("wav", "24"), ("wav", "32f"), ("wav", None), ("flac", "16"), ("flac", "24")],
)
def test_lossless_formats_return_the_written_samples(
    form: str, bit_depth: str | None, channels: int, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    if bit_depth in {"16", "24"}:
        half = 2 ** (int(bit_depth) - 1)
        sound = (random.integers(-half, half, (channels, 30011)) / half).astype(np.float32)
        sound[:, :2] = -1, (half - 1) / half
    else:
        sound = (3 * random.standard_normal((channels, 30011))).astype(np.float32)
    path = tmp_path / "stem"
    written(path, Encoding(form, bit_depth), sound, 44100)
    stem = read(path)
    np.testing.assert_array_equal(stem.samples, sound)
    np.testing.assert_array_equal(soundfile.read(path, dtype="float32", always_2d=True)[0].T, sound)
    with audio.open_song(path) as song:
        assert song.bit_depth == (bit_depth or "32f")


@pytest.mark.parametrize("bits", [16, 24])
def test_integers_are_rounded_and_limited(bits: int, tmp_path: Path) -> None:
    half = 2 ** (bits - 1)
    steps = np.array([[0.4, -0.4, 0.6, 1.5, 2.5, -half - 9, half + 9]])
    written(tmp_path / "a.flac", Encoding("flac", str(bits)), (steps / half).astype("f4"), 8000)
    stem = read(tmp_path / "a.flac").samples * half
    np.testing.assert_array_equal(stem, [[0, 0, 1, 2, 2, -half, half - 1]])


@pytest.mark.parametrize("rate", [44100, 48000])
@pytest.mark.parametrize("form", LOSSY)
def test_lossy_formats_keep_length_and_position_to_the_sample(
    form: str, rate: int, tmp_path: Path
) -> None:
    sound = music(1, rate)[:, : -rate // 10 + 137]
    path = tmp_path / "stem"
    assert written(path, Encoding(form), sound, rate) == []
    stem = read(path)
    assert (stem.sample_rate, stem.samples.shape) == (rate, sound.shape)
    for channel, original in zip(stem.samples, sound, strict=True):
        lag = np.argmax(correlate(channel, original)) - (sound.shape[1] - 1)
        assert lag == 0
    assert np.square(stem.samples - sound).mean() < 5e-3 * np.square(sound).mean()
    with audio.open_song(path) as song:
        # MP3 counts its frames and the rest; the others state the length.
        assert song.declared_seconds == pytest.approx(sound.shape[1] / rate, abs=1e-5)


@pytest.mark.parametrize("form", ["wav", "flac", "mp3", "m4a"])
@pytest.mark.parametrize("length", [48, 100, 1151, 1152, 1153, 1199, 1200, 2305])
def test_short_stems_keep_their_length(form: str, length: int, tmp_path: Path) -> None:
    path = tmp_path / f"stem.{form}"
    written(path, Encoding(form), music(1, 44100)[:, :length], 44100)
    assert read(path).samples.shape == (2, length)


@pytest.mark.parametrize("form", FORMATS)
def test_stem_of_one_sample_can_be_read(form: str, tmp_path: Path) -> None:
    written(tmp_path / f"stem.{form}", Encoding(form), music(1, 44100)[:, :1], 44100)
    length = read(tmp_path / f"stem.{form}").samples.shape[1]
    # The decoder cannot cut all padding of such a short file.
    assert 1 <= length <= {"mp3": 47, "ogg": 4096}.get(form, 1)


@pytest.mark.parametrize("length", [1000, 4096, 5000, 10001])
def test_short_vorbis_stems_are_read(length: int, tmp_path: Path) -> None:
    """FFmpeg does not cut the padding of a file with a single page: about 4,000 samples."""
    written(tmp_path / "stem", Encoding("ogg"), music(1, 44100)[:, :length], 44100)
    read_length = read(tmp_path / "stem").samples.shape[1]
    assert read_length == length if length > 4000 else abs(read_length - length) <= 128


@pytest.mark.parametrize("form", FORMATS)
def test_result_does_not_depend_on_the_blocks(form: str, tmp_path: Path) -> None:
    sound = music(0.5, 44100)
    for name, block in (("a", 10**6), ("b", 100), ("c", 4097)):
        written(tmp_path / name, Encoding(form), sound, 44100, block=block)
    a, b, c = (read(tmp_path / name).samples for name in "abc")
    # libvorbis chooses the length of its first window when it gets the first block.
    start = 1024 if form == "ogg" else 0
    np.testing.assert_array_equal(a[:, start:], c[:, start:])
    np.testing.assert_array_equal(a[:, start:], b[:, start:])


@pytest.mark.parametrize(
    ("form", "rate", "expected"),
    [
        *(("mp3", 96000, 48000), ("mp3", 30000, 32000), ("mp3", 4000, 8000)),
        *(("m4a", 192000, 96000), ("m4a", 50000, 64000), ("ogg", 4000, 8000)),
    ],
)
def test_other_sample_rate_is_converted_with_a_note(
    form: str, rate: int, expected: int, tmp_path: Path
) -> None:
    sound = music(1, rate)
    [note] = written(tmp_path / "stem", Encoding(form), sound, rate)
    assert f"{form} has no sample rate of {rate:,} Hz" in note
    assert f"{expected:,} Hz" in note
    stem = read(tmp_path / "stem")
    resampled = audio.resample(sound, rate, expected)
    assert (stem.sample_rate, stem.samples.shape) == (expected, resampled.shape)
    assert np.square(stem.samples - resampled).mean() < 0.02 * np.square(resampled).mean()


def test_rate_that_a_format_has_is_kept() -> None:
    for form in FORMATS:
        assert [output_rate(form, rate) for rate in (44100, 48000, 8000)] == [44100, 48000, 8000]
    assert [output_rate(form, 192000) for form in ("wav", "flac", "ogg")] == [192000] * 3


@pytest.mark.parametrize("form", FORMATS)
def test_tags_are_kept(form: str, tmp_path: Path) -> None:
    path = tmp_path / "stem"
    tags = {**TAGS, "encoder": "not kept", "title\n": "no name of a tag"}
    written(path, Encoding(form), music(0.2, 44100), 44100, tags)
    with audio.open_song(path) as song:
        assert song.tags == TAGS


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("text", ["\0", "a\0b", "\ud800", "x" * 10**5, "%s%n", "\n", "💩" * 300])
def test_any_text_of_a_tag_is_harmless(form: str, text: str, tmp_path: Path) -> None:
    sound = music(0.2, 44100)
    written(tmp_path / "stem", Encoding(form), sound, 44100, {"title": text, "artist": "A"})
    with audio.open_song(tmp_path / "stem") as song:
        assert song.tags["artist"] == "A"
        assert sum(block.shape[1] for block in song) == sound.shape[1]


@pytest.mark.parametrize("form", FORMATS)
def test_name_that_is_not_utf8_is_written_and_read(form: str, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9 \n\"'%d")
    sound = music(0.2, 44100)
    try:
        path.touch()
    except OSError:
        pytest.skip("the file system allows UTF-8 names only")
    written(path, Encoding(form), sound, 44100)
    assert read(path).samples.shape == sound.shape
    assert list(tmp_path.iterdir()) == [path]


REFUSED = {
    "format": (Encoding("opus"), 44100, 2, "unknown format 'opus'; choose one of wav, flac, mp3"),
    "float_flac": (Encoding("flac", "32f"), 44100, 2, "flac has no .* 32f; choose 24 or 16"),
    "depth_of_mp3": (Encoding("mp3", "16"), 44100, 2, "mp3 has no bit depth of 16; leave it out"),
    "bitrate_of_wav": (Encoding("wav", None, 128), 44100, 2, "wav is lossless"),
    "low": (Encoding("mp3", None, 8), 44100, 2, "no bitrate of 8 kbit/s; choose 32 to 320"),
    "high": (Encoding("ogg", None, 501), 44100, 2, "no bitrate of 501 kbit/s; choose 64 to 500"),
    "six": (Encoding("mp3"), 44100, 6, "mp3 holds at most 2 channels, but the song has 6; choose"),
    "nine": (Encoding("flac"), 44100, 9, "flac holds at most 8 channels, .* has 9; choose wav"),
    "hundred": (Encoding("wav"), 44100, 100, "choose a song with fewer channels"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_impossible_encoding_is_refused_before_a_file_exists(case: str, tmp_path: Path) -> None:
    encoding, rate, channels, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        check_encoding(encoding, rate, channels)
    with (
        pytest.raises(InputError, match=message),
        open_writer(tmp_path / "stem", encoding, rate, channels),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", LOSSY)
@pytest.mark.parametrize("rate", [8000, 44100])
def test_bitrate_is_about_the_chosen_one(form: str, rate: int, tmp_path: Path) -> None:
    low, high = FORMATS[form].bitrates[0], FORMATS[form].bitrates[-1]
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 2 * rate)).astype(np.float32)
    sizes = []
    for bitrate in (low, 128, high):
        written(tmp_path / "stem", Encoding(form, None, bitrate), sound, rate)
        sizes.append((tmp_path / "stem").stat().st_size * 8 / 2000)
        assert read(tmp_path / "stem").samples.shape == sound.shape
    assert sizes[0] < sizes[2]
    if rate == 44100:
        assert sizes[1] == pytest.approx(128, rel=0.35)


@pytest.mark.parametrize("form", FORMATS)
def test_full_disk_is_reported_with_the_reason(form: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, (2, 200_000)).astype(np.float32)
    path = tmp_path / "stem"
    # `files.replacing` finds the reason for libsndfile's error.
    error = soundfile.LibsndfileError if form == "ogg" else OSError
    with no_file_larger_than(50_000), pytest.raises(error) as raised:
        written(path, Encoding(form), noise, 44100)
    if isinstance(raised.value, OSError):
        assert (raised.value.errno, raised.value.filename) == (errno.EFBIG, str(path))
    with no_file_larger_than(50_000), pytest.raises(OSError, match="File too large"):
        write_and_rename(tmp_path / "renamed", Encoding(form), noise)
    assert not (tmp_path / "renamed").exists()


def write_and_rename(path: Path, encoding: Encoding, sound: np.ndarray) -> None:
    with replacing(path) as partial:
        written(partial, encoding, sound, 44100)


@pytest.mark.parametrize("form", FORMATS)
def test_error_of_the_caller_is_kept_and_the_file_is_closed(form: str, tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    with (
        pytest.raises(ZeroDivisionError),
        open_writer(tmp_path / "stem", Encoding(form), 44100, 2) as writer,
    ):
        writer.write(np.zeros((2, 1 // 0), np.float32))
    with (
        pytest.raises(OSError, match="stem"),
        open_writer(tmp_path / "absent" / "stem", Encoding(form), 44100, 2),
    ):
        pass
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


def test_missing_encoder_is_an_input_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = encoders.CODECS["mp3", None]._replace(encoder="libtwolame")
    monkeypatch.setitem(encoders.CODECS, ("mp3", None), missing)
    with (
        pytest.raises(InputError, match="no encoder libtwolame"),
        open_writer(tmp_path / "stem", Encoding("mp3"), 44100, 2),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_wav_beyond_four_gigabytes_is_rf64(tmp_path: Path) -> None:
    if shutil.disk_usage(tmp_path).free < 6 * 2**30:
        pytest.skip("needs 6 GB of disk space")
    path, channels, block = tmp_path / "long.wav", 32, 2**20
    sound = np.tile(np.linspace(-1, 1, block, dtype=np.float32), (channels, 1))
    with open_writer(path, Encoding("wav", "32f"), 192000, channels) as writer:
        for _ in range(33):
            writer.write(sound)
    assert path.stat().st_size > 2**32
    assert path.open("rb").read(4) == b"RF64"
    assert soundfile.info(path).frames == 33 * block
    with audio.open_song(path) as song:
        assert song.declared_seconds == 33 * block / 192000
    with av.open(str(path)) as container:
        assert container.streams.audio[0].channels == channels
    path.unlink()  # pytest keeps the folders of the last runs
