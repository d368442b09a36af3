"""Damaged files: `read_song` decodes as much as possible, `read` refuses any loss."""

import io
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from stemsplit import audio
from stemsplit.errors import InputError

RATE = 32000  # every codec here supports this rate, and it is no default


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    """Two seconds of stereo noise, in which no two positions are alike."""
    random = np.random.default_rng(0)
    return (0.1 * random.standard_normal((2, 2 * RATE))).astype(np.float32)


@pytest.fixture(scope="module")
def mp3(sound: np.ndarray) -> bytes:
    return encoded(sound, "MP3", None)


@pytest.fixture(scope="module")
def flac(sound: np.ndarray) -> bytes:
    return encoded(sound, "FLAC", "PCM_16")


def encoded(sound: np.ndarray, form: str, subtype: str | None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound.T, RATE, subtype, format=form)
    return file.getvalue()


def damaged(content: bytes, length: int = 40) -> bytes:
    """Overwrite `length` bytes in the middle of a file with noise."""
    middle = len(content) // 2
    noise = np.random.default_rng(1).integers(0, 256, length, dtype=np.uint8).tobytes()
    return content[:middle] + noise + content[middle + length :]


def song_of(content: bytes, path: Path) -> audio.Song:
    path.write_bytes(content)
    return audio.read_song(path)


def refused(path: Path, message: str) -> None:
    with pytest.raises(InputError, match=f"{path.name}: .*{message}"):
        audio.read(path)


def test_damaged_flac_frame_becomes_silence(flac: bytes, tmp_path: Path) -> None:
    plain = song_of(flac, tmp_path / "plain.flac").audio.samples
    song = song_of(damaged(flac), tmp_path / "bad.flac")
    assert song.audio.samples.shape == plain.shape
    differs = np.flatnonzero((song.audio.samples != plain).any(axis=0))
    start, end = differs[0], differs[-1] + 1
    assert 0 < end - start <= 4096  # one frame of libFLAC
    assert not song.audio.samples[:, start:end].any()
    [loss] = song.losses
    assert f"(4,096 samples) are missing at {start / RATE:.2f} s" in loss
    refused(tmp_path / "bad.flac", "4,096 samples")


def test_damaged_first_flac_frame_becomes_silence(flac: bytes, tmp_path: Path) -> None:
    plain = song_of(flac, tmp_path / "plain.flac").audio.samples
    start = flac.index(b"\xff\xf8") + 100
    song = song_of(flac[:start] + bytes(40) + flac[start + 40 :], tmp_path / "bad.flac")
    np.testing.assert_array_equal(song.audio.samples[:, 4096:], plain[:, 4096:])
    assert not song.audio.samples[:, :4096].any()
    assert "missing at 0.00 s" in song.losses[0]


def test_wrong_bit_of_a_flac_frame_is_reported(flac: bytes, tmp_path: Path) -> None:
    """Only the checksum detects it, and FFmpeg's Matroska parser does not check it."""
    path = tmp_path / "song.mkv"
    mux(path, flac, "flac", lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    assert "samples) are missing at" in audio.read_song(path).losses[0]
    refused(path, "missing at")


def test_damaged_mp3_frame_becomes_silence(mp3: bytes, tmp_path: Path) -> None:
    plain = song_of(mp3, tmp_path / "plain.mp3").audio.samples
    middle = mp3.index(b"\xff\xfb", len(mp3) // 2)
    song = song_of(
        mp3[: middle + 4] + damaged(bytes(96), 96) + mp3[middle + 100 :], tmp_path / "bad.mp3"
    )
    assert song.audio.samples.shape == plain.shape
    differs = np.flatnonzero((song.audio.samples != plain).any(axis=0))
    assert 0 < differs[-1] - differs[0] < 4 * 1152  # a frame overlaps with its neighbours
    assert "1,152 samples) are missing" in song.losses[0]
    refused(tmp_path / "bad.mp3", "missing")


LYRICS3 = b"LYRICSBEGININD0000210000031LYRICS200TAG" + bytes(125)


@pytest.mark.parametrize(
    "tail", [LYRICS3, bytes(300), bytes(30000), b"APETAGEX" + bytes(range(256)) * 99]
)
def test_tags_and_zeros_after_the_last_frame_are_not_a_loss(
    tail: bytes, mp3: bytes, tmp_path: Path
) -> None:
    plain = song_of(mp3, tmp_path / "plain.mp3")
    song = song_of(mp3 + tail, tmp_path / "tail.mp3")
    time = plain.audio.samples.shape[1]
    # Before a long tail FFmpeg keeps the encoder's padding, as for joined files.
    assert 0 <= song.audio.samples.shape[1] - time < 2 * 1152
    np.testing.assert_array_equal(
        song.audio.samples[:, : time - 1152], plain.audio.samples[:, :-1152]
    )
    assert song.losses == plain.losses == []


def test_corpus_refuses_tags_after_the_last_frame(mp3: bytes, tmp_path: Path) -> None:
    (tmp_path / "tail.mp3").write_bytes(mp3 + LYRICS3)
    refused(tmp_path / "tail.mp3", "follows its last frame")


def test_tag_between_joined_files_adds_no_silence(mp3: bytes, tmp_path: Path) -> None:
    cover = np.random.default_rng(3).bytes(2**14 + 1)
    tag = b"ID3\3\0\0" + bytes([0, 1, 0, 1]) + cover
    plain = song_of(mp3 + mp3, tmp_path / "plain.mp3").audio.samples
    song = song_of(mp3 + tag + mp3, tmp_path / "tag.mp3")
    assert abs(song.audio.samples.shape[1] - plain.shape[1]) <= 1152
    assert "it consists of several joined files; the first ends at 2.0" in song.losses[-1]
    assert not any("missing" in loss for loss in song.losses)


def test_zeros_between_frames_are_a_loss(mp3: bytes, tmp_path: Path) -> None:
    plain = song_of(mp3, tmp_path / "plain.mp3").audio.samples
    middle = mp3.index(b"\xff\xfb", len(mp3) // 2)
    song = song_of(mp3[:middle] + bytes(300) + mp3[middle + 300 :], tmp_path / "bad.mp3")
    assert abs(song.audio.samples.shape[1] - plain.shape[1]) <= 2 * 1152
    assert "missing" in song.losses[0]


@pytest.mark.parametrize(("form", "frame"), [("MP3", 1152), ("OGG", 0), ("FLAC", 0)])
def test_joined_files_are_read_completely(
    form: str, frame: int, sound: np.ndarray, tmp_path: Path
) -> None:
    content = encoded(sound, form, None)
    plain = song_of(content, tmp_path / "plain").audio.samples
    joined = song_of(content + content, tmp_path / "joined").audio.samples
    time = plain.shape[1]
    np.testing.assert_array_equal(joined[:, : time - 2 * frame], plain[:, : time - 2 * frame])
    last = slice(-time + 3 * frame if frame else -time, -2 * frame or None)
    shift = joined.shape[1] - 2 * time
    assert (
        0 <= shift <= 4 * frame + 4096 * (form == "OGG")
    )  # FFmpeg keeps the delay of the second file
    if form == "FLAC":
        np.testing.assert_array_equal(joined[:, last], plain)


@pytest.mark.parametrize("change", [44, -44, 1, 0x10000])
def test_wrong_riff_length_is_ignored(change: int, sound: np.ndarray, tmp_path: Path) -> None:
    content = bytearray(encoded(sound, "WAV", "FLOAT"))
    content[4:8] = struct.pack("<I", len(content) - 8 + change)
    song = song_of(bytes(content), tmp_path / "song.wav")
    np.testing.assert_array_equal(song.audio.samples, sound)
    assert song.losses == []
    np.testing.assert_array_equal(audio.read(tmp_path / "song.wav").samples, sound)


def test_wav_without_padding_byte_is_complete(tmp_path: Path) -> None:
    sound = np.linspace(-1, 1, 999, dtype=np.float32)
    content = encoded(sound[None], "WAV", "PCM_U8")
    assert content[-1:] == b"\0"
    for kept in (content, content[:-1]):
        song = song_of(kept, tmp_path / "song.wav")
        assert (song.audio.samples.shape, song.losses) == ((1, 999), [])


@pytest.mark.parametrize(
    ("form", "subtype"),
    [
        *(("WAV", "PCM_16"), ("WAV", "FLOAT"), ("RF64", "FLOAT"), ("W64", "PCM_24")),
        *(("CAF", "PCM_16"), ("CAF", "FLOAT"), ("AIFF", "PCM_16"), ("AU", "PCM_16")),
        *(("FLAC", "PCM_24"), ("MP3", None), ("OGG", None)),
    ],
)
def test_truncated_song_is_read_and_reported(
    form: str, subtype: str | None, sound: np.ndarray, tmp_path: Path
) -> None:
    content = encoded(sound, form, subtype)
    plain = song_of(content, tmp_path / "plain").audio.samples
    cut = song_of(content[: int(0.6 * len(content))], tmp_path / "cut")
    time = cut.audio.samples.shape[1]
    assert 0.4 * plain.shape[1] < time < 0.65 * plain.shape[1]
    np.testing.assert_array_equal(cut.audio.samples[:, : time - 2048], plain[:, : time - 2048])
    message = f"after {time / RATE:.2f} s" + (
        ": its last page" if form == "OGG" else " of the 2.00 s"
    )
    assert message in cut.losses[0]
    refused(tmp_path / "cut", message)


def test_one_missing_sample_of_a_lossless_file_is_refused(
    sound: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "song.wav"
    path.write_bytes(encoded(sound, "WAV", "PCM_16")[:-4])
    refused(path, "ends after 2.00 s")


def test_mp3_of_unknown_length_is_complete(mp3: bytes, tmp_path: Path) -> None:
    """Without the frame count in the first frame, FFmpeg only estimates the length."""
    start = mp3.index(b"\xff\xfb")
    second = mp3.index(b"\xff\xfb", start + 100)
    assert b"Info" in mp3[start:second] or b"Xing" in mp3[start:second]
    assert song_of(mp3[second:], tmp_path / "song.mp3").losses == []


def mux(
    path: Path,
    content: bytes,
    form: str,
    change: Callable[[bytes], bytes] = lambda content: content,
    changed: int = 7,
    removed: int | None = None,
    late_seconds: float = 0.0,
) -> None:
    """Copy the packets of a file into another container.

    `change` changes packet number `changed`; packet number `removed` is omitted; all packets are
    delayed by `late_seconds`.
    """
    with av.open(io.BytesIO(content), format=form) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for number, packet in enumerate(source.demux()):
            if packet.dts is None or number == removed:
                continue
            copy = av.Packet(change(bytes(packet)) if number == changed else bytes(packet))
            late = round(late_seconds / packet.time_base)
            copy.pts, copy.dts = packet.pts + late, packet.dts + late
            copy.time_base, copy.duration = packet.time_base, packet.duration
            copy.stream = stream
            target.mux(copy)


def test_time_stamps_in_milliseconds_leave_no_gap(flac: bytes, tmp_path: Path) -> None:
    plain = song_of(flac, tmp_path / "plain.flac").audio.samples
    mux(tmp_path / "song.mkv", flac, "flac")
    song = audio.read_song(tmp_path / "song.mkv")
    np.testing.assert_array_equal(song.audio.samples, plain)
    assert song.losses == []


def test_lost_packet_becomes_silence_despite_rounded_time_stamps(
    flac: bytes, tmp_path: Path
) -> None:
    plain = song_of(flac, tmp_path / "plain.flac").audio.samples
    mux(tmp_path / "song.mkv", flac, "flac", removed=3)
    song = audio.read_song(tmp_path / "song.mkv")
    expected = plain.copy()
    expected[:, 3 * 4096 : 4 * 4096] = 0
    np.testing.assert_array_equal(song.audio.samples, expected)
    assert "0.128 s (4,096 samples) are missing at 0.38 s" in song.losses[0]
    refused(tmp_path / "song.mkv", "4,096 samples")


@pytest.mark.parametrize("name", ["late.mkv", "late.mp4", "late.mov"])
def test_late_stream_starts_with_silence(name: str, sound: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        codec = "alac" if name == "late.mp4" else "pcm_s16le"
        stream = container.add_stream(codec, rate=RATE, layout="stereo")
        form = "s16p" if codec == "alac" else "s16"
        stream.codec_context.format = form
        integers = np.rint(sound * 32768).astype(np.int16)
        integers = integers if form == "s16p" else integers.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(integers), form, "stereo")
        frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
        frame.pts = round(0.48 * RATE)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    late = audio.read(path).samples
    start = round(0.48 * RATE)
    assert late.shape == (2, start + sound.shape[1])
    assert not late[:, :start].any()
    assert np.abs(late[:, start:] - sound).max() <= 2**-15
    assert audio.read_song(path).losses == []


@pytest.mark.parametrize(("channels", "rate"), [(1, RATE), (2, 48000), (1, 48000)])
def test_later_rate_and_channels_are_converted_to_the_first(
    channels: int, rate: int, sound: np.ndarray, tmp_path: Path
) -> None:
    second = tmp_path / "second.mp3"
    soundfile.write(second, sound[:channels].T, rate)
    joined = encoded(sound, "MP3", None) + second.read_bytes()
    song = song_of(joined, tmp_path / "joined.mp3")
    length = sound.shape[1] * (1 + RATE / rate)
    assert song.audio.sample_rate == RATE
    assert song.audio.samples.shape[0] == 2
    assert length <= song.audio.samples.shape[1] < length + 5 * 1152
    assert f"{rate} Hz {'mono' if channels == 1 else 'stereo'}" in song.losses[-1]
    refused(tmp_path / "joined.mp3", "it changes from 32000 Hz stereo")
    assert song.audio.samples[:, -RATE // 2 :].std() > 0.05


@pytest.mark.parametrize("content", [b"", b"not a song" * 999, bytes(5000)])
def test_song_without_audio_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"letter\.wav"):
        song_of(content, tmp_path / "letter.wav")


def test_song_without_read_permission_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **settings: object) -> None:
        raise av.error.PermissionError(13, "Permission denied")

    monkeypatch.setattr(av, "open", refuse)
    with pytest.raises(InputError, match=r"song\.wav: no permission"):
        audio.read_song(tmp_path / "song.wav")


RECORDING_START = 5000.0  # seconds


@pytest.mark.parametrize(
    ("name", "start", "late"),
    [
        *(
            ("song.ts", RECORDING_START, 0.5),
            ("song.mkv", 0.0, 0.5),
            ("song.mkv", RECORDING_START, 0.5),
        ),
        *(("song.ts", 0.0, 30.0), ("song.mkv", 0.0, 30.0)),  # later than FFmpeg looks
    ],
)
def test_sound_of_a_video_starts_at_its_time_stamp(
    name: str, start: float, late: float, sound: np.ndarray, tmp_path: Path
) -> None:
    """A file that was cut from a longer recording starts at its first picture, not at 0."""
    path = tmp_path / name
    with av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as container:
        video = container.add_stream("mpeg2video", rate=25)
        video.width = video.height = 16
        video.pix_fmt = "yuv420p"
        stream = container.add_stream("mp2", rate=RATE, layout="stereo")
        for number in range(5 if late < 1 else 750):
            picture = av.VideoFrame(16, 16, "yuv420p")
            picture.pts, picture.time_base = round(25 * start) + number, Fraction(1, 25)
            container.mux(video.encode(picture))
        integers = np.rint(sound * 32768).astype(np.int16).T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(integers), "s16", "stereo")
        frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
        frame.pts = round((start + late) * RATE)
        container.mux(video.encode(None))
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    song = audio.read_song(path)
    silent = np.argmax(np.abs(song.audio.samples[0]) > 1e-3) / RATE
    assert silent == pytest.approx(late, abs=0.025)  # the delay of the encoder is 15 ms
    assert song.losses == []
