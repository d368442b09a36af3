"""MP4 files with stems: decoded by our reader, musdb and ffmpeg, recognised by DJ software."""

import json
import shutil
import struct
import subprocess
from pathlib import Path

import av
import musdb
import numpy as np
import pytest
from scipy.signal import correlate

from stemsplit import audio
from stemsplit.audio.stem_mp4 import STEMS, open_stem_writer
from stemsplit.errors import InputError

RATE = 44100
TAGS = {"title": "Ünïcode ♪", "artist": 'A "B"', "album": "Two\nlines", "track": "3/12"}


def noises(time: int, channels: int = 2) -> np.ndarray:
    """Four different stems with little high frequency, which AAC keeps well."""
    noise = np.random.default_rng(0).standard_normal((4, channels, time + 200))
    kernel = np.hanning(60)
    smooth = np.apply_along_axis(np.convolve, 2, noise, kernel / kernel.sum(), "same")
    return (0.3 * smooth[:, :, 99 : 99 + time]).astype(np.float32)


def written(
    path: Path, stems: np.ndarray, rate: int = RATE, tags: dict[str, str] | None = None
) -> list[str]:
    mixture = stems.sum(axis=0)
    with open_stem_writer(path, rate, stems.shape[1], tags) as writer:
        for start in range(0, stems.shape[2], 30_000):
            block = slice(start, start + 30_000)
            writer.write(mixture[:, block], [stem[:, block] for stem in stems])
    return writer.notes


@pytest.fixture(scope="module")
def stems() -> np.ndarray:
    return noises(2 * RATE + 137)


@pytest.fixture(scope="module")
def path(stems: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "train"
    folder.mkdir()
    written(folder / "A - Song.stem.mp4", stems, tags=TAGS)
    return folder / "A - Song.stem.mp4"


def lag(decoded: np.ndarray, original: np.ndarray) -> int:
    time = min(len(decoded), len(original))
    correlation = correlate(decoded[:time], original[:time])
    return int(np.argmax(correlation)) - (time - 1)


def test_our_reader_gets_every_stream_to_the_sample(path: Path, stems: np.ndarray) -> None:
    streams = audio.read_streams(path, range(5))
    originals = [stems.sum(axis=0), *stems]
    time = stems.shape[2]
    for stream, original in zip(streams, originals, strict=True):
        assert 0 <= stream.samples.shape[1] - time < 1024  # padding, which a corpus keeps
        assert [lag(*pair) for pair in zip(stream.samples, original, strict=True)] == [0, 0]
        difference = stream.samples[:, :time] - original
        assert np.square(difference).mean() < 0.01 * np.square(original).mean()
    song = audio.read_song(path)
    np.testing.assert_array_equal(song.audio.samples, streams[0].samples[:, :time])
    assert song.losses == []
    with audio.open_song(path) as stream:
        assert stream.tags == TAGS
        assert stream.declared_seconds == pytest.approx(time / RATE, abs=1e-6)


def test_index_states_the_exact_length_of_every_stream(path: Path, stems: np.ndarray) -> None:
    with av.open(str(path)) as container:
        durations = dict.fromkeys(range(5), 0)
        for packet in container.demux():
            durations[packet.stream_index] += packet.duration or 0
        assert [stream.duration for stream in container.streams] == [stems.shape[2]] * 5
        assert [stream.start_time for stream in container.streams] == [0] * 5
    assert set(durations.values()) == {stems.shape[2] + 1024}  # with the encoder's delay


def test_musdb_decodes_the_same_stems(path: Path, stems: np.ndarray) -> None:
    corpus = musdb.DB(root=path.parent.parent, subsets="train", split="train", setup_file=None)
    [track] = [track for track in corpus.tracks if track.name == "A - Song"]
    for name, original in zip(STEMS, stems, strict=True):
        decoded = track.targets[name].audio.T
        # ffmpeg keeps the padding of the last AAC frame, also of MUSDB18's own files.
        assert 0 <= decoded.shape[1] - original.shape[1] < 1024
        assert lag(decoded[0], original[0]) == 0
        difference = decoded[:, : original.shape[1]] - original
        assert np.square(difference).mean() < 0.01 * np.square(original).mean()


def test_only_the_mixture_is_played_by_default(path: Path) -> None:
    with av.open(str(path)) as container:
        default = av.stream.Disposition.default
        played = [bool(stream.disposition & default) for stream in container.streams]
        assert played == [True, False, False, False, False]
        assert [stream.codec_context.name for stream in container.streams] == ["aac"] * 5
        assert container.metadata["major_brand"].strip() == "M4A"


def box(content: bytes, *names: bytes) -> bytes:
    """The content of a box that is nested in others, found independently of the writer."""
    for name in names:
        place = 0
        while content[place + 4 : place + 8] != name:
            place += struct.unpack(">I", content[place : place + 4])[0]
        content = content[place + 8 : place + struct.unpack(">I", content[place : place + 4])[0]]
    return content


def test_box_for_dj_software_names_the_stems(path: Path) -> None:
    content = json.loads(box(path.read_bytes(), b"moov", b"udta", b"stem"))
    assert content["version"] == 1
    assert [stem["name"] for stem in content["stems"]] == ["Drums", "Bass", "Other", "Vocals"]
    assert all(len(stem["color"]) == 7 and stem["color"][0] == "#" for stem in content["stems"])
    assert set(content["mastering_dsp"]) == {"compressor", "limiter"}
    assert not any(effect["enabled"] for effect in content["mastering_dsp"].values())
    assert path.read_bytes().count(b"udta") == 1


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_ffmpeg_finds_no_fault(path: Path) -> None:
    command = ["ffmpeg", "-v", "warning", "-i", path, "-map", "0", "-f", "null", "-"]
    result = subprocess.run(command, capture_output=True, check=True)
    assert result.stderr == b""


def test_mono_and_other_rates_are_converted(tmp_path: Path) -> None:
    mono = noises(20_000, 1)
    [note] = written(tmp_path / "a.stem.mp4", mono, 50_000)
    assert "no sample rate of 50,000 Hz: it is converted to 64,000 Hz" in note
    for stream, stem in zip(
        audio.read_streams(tmp_path / "a.stem.mp4", range(1, 5)), mono, strict=True
    ):
        expected = audio.resample(np.repeat(stem, 2, axis=0), 50_000, 64_000)
        assert stream.sample_rate == 64_000
        assert 0 <= stream.samples.shape[1] - expected.shape[1] < 1024
        difference = stream.samples[:, : expected.shape[1]] - expected
        assert np.square(difference).mean() < 0.01 * np.square(expected).mean()


def test_one_sample_is_written_and_read(tmp_path: Path) -> None:
    written(tmp_path / "a.stem.mp4", noises(1))
    assert audio.read_song(tmp_path / "a.stem.mp4").audio.samples.shape == (2, 1)


REFUSED = {
    "two stems": (("vocals", "rest"), 2, None, r"exactly 4 stems, but there are 2 \(vocals, rest"),
    "surround": (STEMS, 6, None, "at most 2 channels, but the song has 6"),
    "bitrate": (STEMS, 2, 5, "no bitrate of 5 kbit/s; choose 32 to 512"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_impossible_file_is_refused_before_it_exists(case: str, tmp_path: Path) -> None:
    names, channels, bitrate, message = REFUSED[case]
    path = tmp_path / "a.stem.mp4"
    with (
        pytest.raises(InputError, match=message),
        open_stem_writer(path, RATE, channels, {}, names, bitrate),
    ):
        pass
    assert not path.exists()
