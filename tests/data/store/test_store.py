"""The store has the samples of musdb; it decodes songs once, and damaged songs again."""

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import IO

import musdb
import numpy as np
import pytest
import soundfile

from stemsplit import audio
from stemsplit.data.corpora.demo_songs import write_song
from stemsplit.data.corpora.musdb import musdb18, musdb18hq
from stemsplit.data.store import fingerprints
from stemsplit.data.store import store as store_module
from stemsplit.data.store.decoding import Decoded
from stemsplit.data.store.store import Store
from stemsplit.data.store.stored import StoredTrack, corpus_fingerprint
from stemsplit.data.tracks import AudioSource, Track
from stemsplit.errors import InputError

RATE = 44100
STEP = 2**-15  # of 16-bit samples


@pytest.fixture(scope="module")
def stem_tracks(stem_corpus: Path) -> list[Track]:
    return musdb18(stem_corpus)


@pytest.fixture(scope="module")
def wav_tracks(wav_corpus: Path) -> list[Track]:
    return musdb18hq(wav_corpus)


@pytest.fixture
def track(stem_tracks: list[Track]) -> Track:
    return stem_tracks[0]


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, streams: list[int]) -> None:
        raise AssertionError(f"{path} is decoded a second time")

    monkeypatch.setattr(audio, "read_streams", refuse)


def wav_track(folder: Path, stems: dict[str, np.ndarray], rate: int, subtype: str) -> Track:
    """A track of WAV files; `stems` includes the mixture."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, samples in stems.items():
        soundfile.write(folder / f"{name}.wav", samples.T, rate, subtype)
    sources = {name: AudioSource(folder / f"{name}.wav") for name in stems}
    return Track(folder.name, "train", sources.pop("mixture"), sources)


def stored_tracks(cache: Path) -> list[str]:
    folder = cache / "tracks"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("layout", ["stem", "wav"])
def test_samples_equal_those_of_musdb(
    layout: str, cache: Path, request: pytest.FixtureRequest
) -> None:
    root = request.getfixturevalue(f"{layout}_corpus")
    tracks = Store(cache, RATE, 2).tracks(request.getfixturevalue(f"{layout}_tracks"))
    references = musdb.DB(root=str(root), is_wav=layout == "wav").tracks
    assert [track.name for track in tracks] == [reference.name for reference in references]
    for track, reference in zip(tracks[:1], references[:1], strict=True):  # musdb is slow
        mixture, *stems = reference.stems
        assert track.time == len(mixture)
        np.testing.assert_allclose(track.mixture().T, mixture, rtol=0, atol=1.001 * STEP)
        for name, stem in zip(("drums", "bass", "other", "vocals"), stems, strict=True):
            np.testing.assert_allclose(track.read(name).T, stem, rtol=0, atol=1.001 * STEP)


def test_16_bit_samples_are_exact(cache: Path, tmp_path: Path) -> None:
    """This includes −32768: it is full scale, as in mastered songs, and does not exceed it."""
    samples = np.random.default_rng(0).integers(-32768, 32768, (2, 5000)).astype(np.int16)
    samples[0, :2] = [-32768, 32767]
    track = wav_track(tmp_path / "song", {"mixture": samples, "vocals": samples}, RATE, "PCM_16")
    [stored] = Store(cache, RATE, 2).tracks([track])
    np.testing.assert_array_equal(stored.mixture() * 32768, samples)


def test_stream_above_full_scale_is_not_clipped(cache: Path, tmp_path: Path) -> None:
    """The decoded AAC stream of a clipped master exceeds ±1."""
    square = np.sign(np.sin(2 * np.pi * 100 * np.arange(RATE) / RATE)).astype(np.float32)
    drums, silence = np.stack([square, -square]), np.zeros((2, RATE), np.float32)
    path = tmp_path / "train" / "Loud - Louder.stem.mp4"
    write_song(path, {"drums": drums, "bass": silence, "other": silence, "vocals": silence})
    [stored] = Store(cache, RATE, 2).tracks(musdb18(tmp_path))
    assert stored.samples.dtype == np.int16
    decoded = audio.read(path, 1).samples
    assert np.abs(decoded).max() > 1.05
    np.testing.assert_allclose(stored.read("drums"), decoded, rtol=0, atol=STEP)


@pytest.mark.parametrize("subtype", ["FLOAT", "PCM_24"])
def test_float_and_24_bit_samples_are_exact(subtype: str, cache: Path, tmp_path: Path) -> None:
    peak = 1.5 if subtype == "FLOAT" else 0.9
    samples = np.random.default_rng(0).uniform(-peak, peak, (2, 5000)).astype(np.float32)
    track = wav_track(tmp_path / "song", {"mixture": samples, "vocals": samples}, RATE, subtype)
    [stored] = Store(cache, RATE, 2).tracks([track])
    np.testing.assert_array_equal(stored.read("vocals"), audio.read(track.mixture.path).samples)
    np.testing.assert_allclose(stored.read("vocals"), samples, rtol=0, atol=2**-22)


def test_silent_stem_stays_silent(wav_tracks: list[Track], songs: dict, cache: Path) -> None:
    silent = [name for name, stems in songs.items() if not stems["bass"].any()]
    assert len(silent) == 1
    for stored in Store(cache, RATE, 2).tracks(wav_tracks):
        assert stored.read("bass").any() == (f"{stored.subset}/{stored.name}" not in silent)


def test_stems_are_cut_or_padded_to_the_mixture(cache: Path, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-9999, 9999, (2, 3000)).astype(np.int16)
    parts = {"mixture": samples[:, :2000], "bass": samples[:, :1500], "vocals": samples}
    [stored] = Store(cache, RATE, 2).tracks([wav_track(tmp_path / "s", parts, RATE, "PCM_16")])
    assert stored.time == 2000
    np.testing.assert_array_equal(stored.read("vocals") * 32768, samples[:, :2000])
    np.testing.assert_array_equal(stored.read("bass")[:, :1500] * 32768, samples[:, :1500])
    assert not stored.read("bass")[:, 1500:].any()


def test_excerpt_equals_slice_and_is_padded_with_silence(
    wav_tracks: list[Track], cache: Path
) -> None:
    [stored] = Store(cache, RATE, 2).tracks(wav_tracks[:1])
    vocals = stored.read("vocals")
    np.testing.assert_array_equal(stored.read("vocals", 1000, 500), vocals[:, 1000:1500])
    late = stored.read("vocals", stored.time - 300, 500)
    np.testing.assert_array_equal(late[:, :300], vocals[:, -300:])
    assert late.shape == (2, 500)
    assert not late[:, 300:].any()
    assert not stored.read("vocals", stored.time + 10, 500).any()


@pytest.mark.parametrize(("rate", "channels"), [(22050, 2), (48000, 2), (RATE, 1), (16000, 1)])
def test_rate_and_channels_are_converted(
    rate: int, channels: int, wav_tracks: list[Track], cache: Path
) -> None:
    [stored] = Store(cache, rate, channels).tracks(wav_tracks[:1])
    samples = audio.read(wav_tracks[0].stems["vocals"].path).samples
    expected = audio.resample(audio.with_channels(samples, channels), RATE, rate)
    assert stored.sample_rate == rate
    np.testing.assert_allclose(stored.read("vocals"), expected, rtol=0, atol=STEP)


def test_mono_song_fills_both_channels(cache: Path, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-9999, 9999, (1, 3000)).astype(np.int16)
    parts = {"mixture": samples, "vocals": samples}
    [stored] = Store(cache, RATE, 2).tracks([wav_track(tmp_path / "s", parts, RATE, "PCM_16")])
    np.testing.assert_array_equal(stored.mixture() * 32768, np.repeat(samples, 2, 0))


def test_key_depends_on_rate_channels_stems_and_streams(track: Track, cache: Path) -> None:
    [first] = Store(cache, 16000, 1).tracks([track])
    [stereo] = Store(cache, 16000, 2).tracks([track])
    [slow] = Store(cache, 8000, 1).tracks([track])
    fewer = Track(track.name, "train", track.mixture, {"vocals": track.stems["vocals"]})
    [vocals] = Store(cache, 16000, 1).tracks([fewer])
    drums_as_vocals = Track(track.name, "train", track.mixture, {"vocals": track.stems["drums"]})
    [drums] = Store(cache, 16000, 1).tracks([drums_as_vocals])
    assert len({stored.key for stored in (first, stereo, slow, vocals, drums)}) == 5
    np.testing.assert_allclose(drums.read("vocals"), first.read("drums"), atol=STEP)
    np.testing.assert_allclose(vocals.read("vocals"), first.read("vocals"), atol=STEP)
    assert stereo.read("vocals").shape == (2, first.time)


def copied(track: Track, folder: Path) -> Track:
    """The same track with its files copied to a folder."""

    def copy(source: AudioSource) -> AudioSource:
        return replace(source, path=Path(shutil.copy(source.path, folder)))

    folder.mkdir(exist_ok=True)
    stems = {name: copy(source) for name, source in track.stems.items()}
    return replace(track, mixture=copy(track.mixture), stems=stems)


def test_same_content_is_decoded_once(
    stem_tracks: list[Track], tmp_path: Path, cache: Path, request: pytest.FixtureRequest
) -> None:
    first = Store(cache, RATE, 2).tracks(stem_tracks)
    request.getfixturevalue("no_decoding")
    assert Store(cache, RATE, 2).tracks(stem_tracks) == first
    # The key depends on the content of the files, not on their paths.
    copies = [copied(track, tmp_path / "copies") for track in stem_tracks]
    assert Store(cache, RATE, 2).tracks(copies) == first


def test_changed_source_is_decoded_again(cache: Path, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-9999, 9999, (2, 3000)).astype(np.int16)
    for written in (samples, samples[:, ::-1]):
        parts = {"mixture": written, "vocals": written}
        track = wav_track(tmp_path / "s", parts, RATE, "PCM_16")
        [stored] = Store(cache, RATE, 2).tracks([track])
        np.testing.assert_array_equal(stored.read("vocals") * 32768, written)
    assert len(stored_tracks(cache)) == 2


def shorten(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "samples cut": lambda folder: shorten(folder / "samples.npy", 0.5),
    "samples cut in the header": lambda folder: (folder / "samples.npy").write_bytes(b"\x93NUMPY"),
    "samples empty": lambda folder: (folder / "samples.npy").write_bytes(b""),
    "samples lost": lambda folder: (folder / "samples.npy").unlink(),
    "map cut": lambda folder: shorten(folder / "levels.npy", 0.5),
    "map lost": lambda folder: (folder / "levels.npy").unlink(),
    "facts lost": lambda folder: (folder / "track.json").unlink(),
    "facts empty": lambda folder: (folder / "track.json").write_text(""),
    "facts garbage": lambda folder: (folder / "track.json").write_bytes(b"\xff\xfe{"),
    "facts no object": lambda folder: (folder / "track.json").write_text("[1, 2]"),
    "facts null": lambda folder: (folder / "track.json").write_text("null"),
    "scale lost": lambda folder: (folder / "track.json").write_text(
        json.dumps({"shape": np.load(folder / "samples.npy", mmap_mode="r").shape})
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_folder_is_decoded_again(damage: str, track: Track, cache: Path) -> None:
    store = Store(cache, 8000, 1)
    [stored] = store.tracks([track])
    samples = np.array(stored.samples)
    DAMAGE[damage](stored.folder)
    [again] = store.tracks([track])
    assert again == stored
    np.testing.assert_array_equal(again.samples, samples)
    assert stored_tracks(cache) == [stored.key]


def test_leftovers_of_killed_process_are_not_opened(track: Track, cache: Path) -> None:
    script = (
        "import os, pathlib, pickle, sys\n"
        "from stemsplit.data.store import store\n"
        "store.json.dumps = lambda facts: os._exit(9)\n"  # after the samples, before the facts
        "store.Store(pathlib.Path(sys.argv[1]), 8000, 1).tracks(pickle.load(sys.stdin.buffer))\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, cache], input=pickle.dumps([track]))
    assert killed.returncode == 9
    assert all(name.startswith(".partial-") for name in stored_tracks(cache))
    [stored] = Store(cache, 8000, 1).tracks([track])
    assert stored.read("vocals").any()


CHANNEL_OF_STEM = {
    "accompaniment": {"channel": 0},
    "vocals": {"channel": 1},
    "both": {},
}


def stereo_clip(tmp_path: Path, peak: float = 0.4) -> tuple[np.ndarray, dict[str, AudioSource]]:
    """The samples of a stereo 16-bit file in ±1, and sources of each channel and of both."""
    samples = np.random.default_rng(0).integers(-peak * 32768, peak * 32768, (2, 3000))
    soundfile.write(tmp_path / "clip.wav", samples.T.astype(np.int16), RATE, "PCM_16")
    sources = {
        stem: AudioSource(tmp_path / "clip.wav", **channel)
        for stem, channel in CHANNEL_OF_STEM.items()
    }
    return (samples / 32768).astype(np.float32), sources


@pytest.mark.parametrize("channels", [1, 2])
def test_stem_is_one_channel_of_file(channels: int, cache: Path, tmp_path: Path) -> None:
    samples, sources = stereo_clip(tmp_path)
    track = Track("clip", "train", sources.pop("both"), dict(sources))
    [stored] = Store(cache, RATE, channels).tracks([track])
    for stem, channel in zip(("accompaniment", "vocals"), samples, strict=True):
        np.testing.assert_array_equal(stored.read(stem), np.tile(channel, (channels, 1)))
    mixture = samples if channels == 2 else samples.mean(axis=0, keepdims=True)
    np.testing.assert_allclose(stored.mixture(), mixture, rtol=0, atol=STEP)
    exchanged = dict(zip(track.stems, reversed(track.stems.values()), strict=True))
    [stored] = Store(cache, RATE, channels).tracks([replace(track, stems=exchanged)])
    np.testing.assert_array_equal(stored.read("vocals")[0], samples[0])


@pytest.mark.parametrize("peak", [0.4, 0.99])
def test_missing_mixture_is_the_exact_sum_of_stems(
    peak: float, cache: Path, tmp_path: Path
) -> None:
    samples, sources = stereo_clip(tmp_path, peak)
    del sources["both"]
    [stored] = Store(cache, RATE, 1).tracks([Track("clip", "train", None, dict(sources))])
    np.testing.assert_array_equal(stored.mixture(), samples.sum(axis=0, keepdims=True))
    np.testing.assert_array_equal(stored.read("vocals"), samples[1:])
    assert stored.samples.dtype == np.int16


def test_sum_is_as_long_as_the_longest_stem(cache: Path, tmp_path: Path) -> None:
    _, sources = stereo_clip(tmp_path)
    soundfile.write(tmp_path / "long.wav", np.full((5000, 2), 0.25), RATE, "PCM_16")
    stems = {"vocals": sources["both"], "long": AudioSource(tmp_path / "long.wav")}
    [stored] = Store(cache, RATE, 2).tracks([Track("song", "train", None, dict(stems))])
    assert stored.time == 5000
    assert not stored.read("vocals")[:, 3000:].any()
    np.testing.assert_array_equal(stored.mixture()[:, 3000:], 0.25)


def test_missing_stem_is_silent(cache: Path, tmp_path: Path) -> None:
    samples, sources = stereo_clip(tmp_path)
    with_drums = Track("song", "train", None, {"drums": sources["both"], "vocals": sources["both"]})
    without = replace(with_drums, stems={"drums": None, "vocals": sources["both"]})
    store = Store(cache, RATE, 2)
    [first], [second] = store.tracks([with_drums]), store.tracks([without])
    assert first.read("drums").any()
    assert not second.read("drums").any()
    np.testing.assert_array_equal(second.mixture(), samples)


def test_missing_channel_is_refused(cache: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "mono.wav", np.zeros(3000), RATE)
    voice = AudioSource(tmp_path / "mono.wav", channel=1)
    with pytest.raises(InputError, match=r"mono\.wav: has 1 channel\(s\), but 2 are needed"):
        Store(cache, RATE, 1).tracks([Track("mono", "train", None, {"vocals": voice})])


def test_error_names_unreadable_file(track: Track, cache: Path, tmp_path: Path) -> None:
    absent = tmp_path / "absent.wav"
    with pytest.raises(InputError, match=r"absent\.wav: does not exist"):
        Store(cache, 8000, 1).tracks([Track("song", "train", AudioSource(absent), {})])
    letter = tmp_path / "letter.wav"
    letter.write_text("not a song")
    with pytest.raises(InputError, match=r"letter\.wav"):
        Store(cache, 8000, 1).tracks([track, Track("song", "train", AudioSource(letter), {})])
    assert all(not name.startswith(".partial-") for name in stored_tracks(cache))


def test_pickle_of_stored_track_is_small(track: Track, cache: Path) -> None:
    [stored] = Store(cache, 8000, 1).tracks([track])
    vocals = stored.read("vocals")
    pickled = pickle.dumps(stored)
    assert len(pickled) < 2000
    arrived: StoredTrack = pickle.loads(pickled)
    assert arrived == stored
    np.testing.assert_array_equal(arrived.read("vocals"), vocals)


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drive without file locks, so processes do not wait for each other."""
    for module in (store_module, fingerprints):
        monkeypatch.setattr(module, "one_at_a_time", lambda *_: nullcontext())


def in_two_threads(decode: Callable[[], StoredTrack]) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = (job.result() for job in [pool.submit(decode) for _ in range(2)])
    assert first == second
    np.testing.assert_array_equal(first.read("vocals"), second.read("vocals"))


def test_two_threads_decode_same_track(
    no_locks: None, track: Track, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(cache, 4000, 1).tracks([track])  # hashes the sources
    both_have_read = threading.Barrier(2, timeout=20)
    read_streams = audio.read_streams

    def read_together(*arguments: object) -> list[audio.Audio]:
        streams = read_streams(*arguments)
        both_have_read.wait()
        return streams

    monkeypatch.setattr(audio, "read_streams", read_together)
    in_two_threads(lambda: Store(cache, 8000, 1).tracks([track])[0])


def test_two_threads_hash_same_sources(
    no_locks: None, track: Track, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_have_hashed = threading.Barrier(2, timeout=20)
    file_digest = hashlib.file_digest

    def hash_together(*arguments: object) -> object:
        digest = file_digest(*arguments)
        if not (cache / "fingerprints").exists():
            both_have_hashed.wait()
        return digest

    monkeypatch.setattr(hashlib, "file_digest", hash_together)
    in_two_threads(lambda: Store(cache, 8000, 1).tracks([track])[0])


def test_slower_process_keeps_folder_of_faster_process(
    no_locks: None, track: Track, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of an open track must not change, because worker processes map them later."""
    reading, decoded = threading.Event(), threading.Event()
    read_streams = audio.read_streams

    def read_slowly(*arguments: object) -> list[audio.Audio]:
        streams = read_streams(*arguments)
        reading.set()
        assert decoded.wait(20)
        return streams

    with ThreadPoolExecutor(1) as pool:
        with monkeypatch.context() as patched:
            patched.setattr(audio, "read_streams", read_slowly)
            slower = pool.submit(Store(cache, 8000, 1).tracks, [track])
            assert reading.wait(20)
        [faster] = Store(cache, 8000, 1).tracks([track])
        before = (faster.folder / "samples.npy").stat().st_ino
        decoded.set()
        assert slower.result() == [faster]
    assert (faster.folder / "samples.npy").stat().st_ino == before
    assert stored_tracks(cache) == [faster.key]


def test_two_processes_decode_same_track(track: Track, cache: Path) -> None:
    script = (
        "import pathlib, pickle, sys\n"
        "from stemsplit.data.store.store import Store\n"
        "[track] = pickle.load(sys.stdin.buffer)\n"
        "[stored] = Store(pathlib.Path(sys.argv[1]), 8000, 1).tracks([track])\n"
        "sys.stdout.buffer.write(stored.read('vocals').tobytes())\n"
    )

    def decode(_: int) -> bytes:
        # Without a terminal, Rich writes its progress bar to stdout before the samples.
        command = [sys.executable, "-c", script, cache]
        return subprocess.run(
            command, input=pickle.dumps([track]), stdout=subprocess.PIPE, check=True
        ).stdout

    with ThreadPoolExecutor(2) as pool:
        outputs = list(pool.map(decode, range(2)))
    [stored] = Store(cache, 8000, 1).tracks([track])
    for output in outputs:
        assert output.endswith(stored.read("vocals").tobytes())


def test_corpus_fingerprint_depends_on_content_only(
    wav_tracks: list[Track], tmp_path: Path, cache: Path
) -> None:
    store = Store(cache, 8000, 1)
    tracks = store.tracks(wav_tracks)
    fingerprint = corpus_fingerprint(tracks)
    assert corpus_fingerprint(tracks[::-1]) == fingerprint
    assert corpus_fingerprint(tracks[:-1]) != fingerprint
    copy = copied(wav_tracks[0], tmp_path / "copy")
    assert corpus_fingerprint(store.tracks([copy, *wav_tracks[1:]])) == fingerprint
    shutil.copy(copy.stems["drums"].path, copy.stems["bass"].path)
    assert corpus_fingerprint(store.tracks([copy, *wav_tracks[1:]])) != fingerprint


def test_lossless_stem_is_exact_beside_mixture_above_full_scale(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = np.random.default_rng(0).integers(-9999, 9999, (2, 3000)).astype(np.int16)
    track = wav_track(tmp_path / "s", {"mixture": samples, "vocals": samples}, RATE, "PCM_16")
    read_streams = audio.read_streams

    def read_with_loud_mixture(path: Path, streams: list[int]) -> list[audio.Audio]:
        decoded = read_streams(path, streams)
        if path.stem == "mixture":  # imitates a lossy file
            loud = 5 * decoded[0].samples
            return [decoded[0]._replace(samples=loud, lossless=False)]
        return decoded

    monkeypatch.setattr(audio, "read_streams", read_with_loud_mixture)
    [stored] = Store(cache, RATE, 2).tracks([track])
    np.testing.assert_array_equal(stored.read("vocals") * 32768, samples)
    assert np.abs(stored.mixture()).max() > 1


def test_error_names_file_with_too_many_channels(cache: Path, tmp_path: Path) -> None:
    samples = np.zeros((6, 3000), np.int16)
    track = wav_track(tmp_path / "s", {"mixture": samples, "vocals": samples}, RATE, "PCM_16")
    with pytest.raises(InputError, match=r"mixture\.wav: 6 channels cannot be converted to 2"):
        Store(cache, RATE, 2).tracks([track])


def test_one_of_several_threads_decodes(
    wav_tracks: list[Track], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The threads stand for the processes of torchrun: file locks work alike for both."""
    decoded: list[str] = []
    read: list[str] = []
    started = threading.Barrier(3)

    def decode(track: Track, sample_rate: int, channels: int) -> Decoded:
        decoded.append(track.name)
        return original(track, sample_rate, channels)

    def digest(file: IO[bytes], algorithm: str) -> "hashlib._Hash":
        read.append(file.name)
        return file_digest(file, algorithm)

    def start(_: int) -> list[StoredTrack]:
        started.wait()
        return Store(cache, 8000, 1).tracks(wav_tracks)

    original, file_digest = store_module.decode, hashlib.file_digest
    monkeypatch.setattr(store_module, "decode", decode)
    monkeypatch.setattr(hashlib, "file_digest", digest)
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(start, range(3)))
    assert sorted(decoded) == sorted(track.name for track in wav_tracks)
    assert len(read) == len(set(read)) == 5 * len(wav_tracks)
    assert results[0] == results[1] == results[2]


def test_permissions_of_decoded_songs_follow_umask(wav_tracks: list[Track], cache: Path) -> None:
    os.umask(mask := os.umask(0o022))
    for track in Store(cache, 8000, 1).tracks(wav_tracks):
        assert track.folder.stat().st_mode & 0o777 == 0o777 & ~mask
        for file in track.folder.iterdir():
            assert file.stat().st_mode & 0o777 == 0o666 & ~mask


def test_read_only_cache_is_refused_before_decoding(
    wav_tracks: list[Track], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache / "tracks").mkdir(parents=True)
    monkeypatch.setattr("os.access", lambda path, mode, **_: not mode & os.W_OK)
    with pytest.raises(InputError, match=r"tracks: is not writable; .* data.cache=FOLDER"):
        Store(cache, 8000, 1).tracks(wav_tracks)


def test_read_only_store_needs_no_lock(
    wav_tracks: list[Track], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    before = Store(cache, 8000, 1).tracks(wav_tracks)
    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    assert Store(cache, 8000, 1).tracks(wav_tracks) == before
    assert Store(cache, 4000, 1).tracks(wav_tracks)
