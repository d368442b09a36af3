"""The store survives killed processes, full disks, and changes of its files and sources."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemsplit.data.corpora.musdb import musdb18, musdb18hq
from stemsplit.data.statistics import cached_statistics
from stemsplit.data.store import store as store_module
from stemsplit.data.store import stored as stored_module
from stemsplit.data.store.store import Store
from stemsplit.data.store.track_folders import is_whole
from stemsplit.data.tracks import AudioSource, Track
from stemsplit.errors import InputError
from stemsplit.separation.front_end import FrontEnd

RATE = 44100
DECODE = (
    "import os, pathlib, pickle, sys\n"
    "from stemsplit.data.store import store\n"
    "store.BYTES_PER_WORKER = float(sys.argv[2])\n"
    "os.cpu_count = lambda: 2\n"
    "store.Store(pathlib.Path(sys.argv[1]), 44100, 2).tracks(pickle.load(sys.stdin.buffer))\n"
)
IN_ONE_PROCESS, IN_WORKERS = "inf", "1"


@pytest.fixture
def sixteen_songs(stem_corpus: Path, tmp_path: Path) -> list[Track]:
    """Sixteen songs with the same audio; one byte after the audio differs."""
    [source, *_] = sorted((stem_corpus / "train").iterdir())
    (tmp_path / "corpus" / "train").mkdir(parents=True)
    for song in range(16):
        copy = tmp_path / "corpus" / "train" / f"Song {song}.stem.mp4"
        copy.write_bytes(source.read_bytes() + (8).to_bytes(4, "big") + b"free" + bytes([song]))
    return musdb18(tmp_path / "corpus")


@pytest.mark.parametrize(
    ("songs_done", "where"), [(0, IN_ONE_PROCESS), (7, IN_ONE_PROCESS), (5, IN_WORKERS)]
)
def test_killed_decoding_is_continued(
    songs_done: int, where: str, sixteen_songs: list[Track], cache: Path
) -> None:
    script = [sys.executable, "-c", DECODE, str(cache), where]
    process = subprocess.Popen(script, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(pickle.dumps(sixteen_songs))
    process.stdin.close()
    folder = cache / "tracks"
    # Wait until enough songs are decoded and another one is being written.
    while process.poll() is None:
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        partial = [name for name in names if name.startswith(".partial-")]
        if len(names) - len(partial) >= songs_done and partial:
            break
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the process ended before it was killed"
    complete = {path for path in folder.iterdir() if not path.name.startswith(".partial-")}
    assert all(is_whole(path) for path in complete)
    assert songs_done <= len(complete) < len(sixteen_songs)
    written = {path: (path / "samples.npy").stat().st_mtime_ns for path in complete}
    tracks = Store(cache, RATE, 2).tracks(sixteen_songs)
    assert all((path / "samples.npy").stat().st_mtime_ns == written[path] for path in complete)
    assert len({track.key for track in tracks}) == len(sixteen_songs)
    [expected] = Store(cache.with_name("another cache"), RATE, 2).tracks(sixteen_songs[:1])
    for track in tracks:
        np.testing.assert_array_equal(track.samples, expected.samples)


def test_workers_decode_the_same_samples(
    wav_corpus: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracks = musdb18hq(wav_corpus)
    in_one_process = Store(cache, 8000, 1).tracks(tracks)
    monkeypatch.setattr(store_module, "BYTES_PER_WORKER", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    in_workers = Store(tmp_path / "workers", 8000, 1).tracks(tracks)
    for expected, stored in zip(in_one_process, in_workers, strict=True):
        np.testing.assert_array_equal(stored.samples, expected.samples)
        np.testing.assert_array_equal(stored.levels, expected.levels)


def test_worker_names_damaged_song_and_keeps_the_rest(
    wav_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(shutil.copytree(wav_corpus, tmp_path / "corpus"))
    tracks = musdb18hq(root)
    broken = tracks[-1].stems["drums"].path
    broken.write_bytes(broken.read_bytes()[:20000])
    monkeypatch.setattr(store_module, "BYTES_PER_WORKER", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    with pytest.raises(InputError, match=r"drums\.wav: .* is truncated"):
        Store(tmp_path / "cache", 8000, 1).tracks(tracks)
    assert len(Store(tmp_path / "cache", 8000, 1).tracks(tracks[:-1])) == 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "stemsplit-test", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a small file system")
    yield folder
    stored_module._maps.cache_clear()  # a file system with mapped files cannot be unmounted
    subprocess.run(["umount", str(folder)], check=True)


def test_songs_larger_than_disk_are_refused_before_decoding(
    wav_corpus: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracks = musdb18hq(wav_corpus)
    message = r"4\.\d MB free, but 4 decoded songs take about [\d.]+ MB; free .*data\.cache"
    with pytest.raises(InputError, match=message):
        Store(small_disk, RATE, 2).tracks(tracks)
    assert not list((small_disk / "tracks").iterdir())
    # The songs fit at a lower rate.
    assert len(Store(small_disk, 4000, 1).tracks(tracks)) == 4
    assert "4 decoded songs take about 540.0 kB" in capsys.readouterr().err


def test_full_disk_raises_input_error(
    wav_corpus: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracks = musdb18hq(wav_corpus)[:1]
    store = Store(small_disk, RATE, 2)
    filler = small_disk / "filler"

    def fill_disk(*_: object) -> None:
        (small_disk / "tracks").mkdir(parents=True)
        filler.write_bytes(bytes(3 * 2**20))

    with monkeypatch.context() as patched:
        patched.setattr(store, "_check_room", fill_disk)
        with pytest.raises(
            InputError,
            match=r"the disk is full; .* needs [23]\.\d MB; free .*data\.cache",
        ):
            store.tracks(tracks)
    assert not list((small_disk / "tracks").iterdir()), "an incomplete folder stays"
    filler.unlink()
    [stored] = store.tracks(tracks)
    assert is_whole(stored.folder)


@pytest.mark.parametrize("layout", ["stem", "wav"])
def test_size_estimate_equals_decoded_size(
    layout: str, cache: Path, request: pytest.FixtureRequest
) -> None:
    lister = {"stem": musdb18, "wav": musdb18hq}[layout]
    tracks = lister(request.getfixturevalue(f"{layout}_corpus"))
    store = Store(cache, 22050, 2)
    estimates = store._sizes(tracks)
    for estimate, stored in zip(estimates, store.tracks(tracks), strict=True):
        assert stored.samples.nbytes == pytest.approx(estimate, rel=0.02)


def noise(folder: Path, seed: int) -> Track:
    folder.mkdir(exist_ok=True)
    samples = np.random.default_rng(seed).integers(-9999, 9999, (2, 3000)).astype(np.int16)
    for name in ("mixture", "vocals"):
        soundfile.write(folder / f"{name}.wav", samples.T, RATE, "PCM_16")
    vocals = {"vocals": AudioSource(folder / "vocals.wav")}
    return Track("s", "train", AudioSource(folder / "mixture.wav"), vocals)


def test_changed_source_with_old_times_is_decoded_again(cache: Path, tmp_path: Path) -> None:
    """Some copy programs keep the modification time; path and size are the same too."""
    store = Store(cache, RATE, 2)
    track = noise(tmp_path / "s", 0)
    times = {path: path.stat() for path in (tmp_path / "s").iterdir()}
    [before] = store.tracks([track])
    noise(tmp_path / "s", 1)
    for path, stat in times.items():
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert path.stat().st_size == stat.st_size
    [after] = store.tracks([track])
    [expected] = Store(cache.with_name("another cache"), RATE, 2).tracks([noise(tmp_path / "s", 1)])
    assert before.key != after.key
    np.testing.assert_array_equal(after.samples, expected.samples)


def test_read_only_cache_can_be_read(
    wav_corpus: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracks = musdb18hq(wav_corpus)
    store = Store(cache, 8000, 1)
    expected = store.tracks(tracks)
    monkeypatch.setattr(os, "access", lambda path, mode, **_: not mode & os.W_OK)
    monkeypatch.setattr(os, "utime", lambda *_: (_ for _ in ()).throw(PermissionError()))
    assert store.tracks(tracks) == expected


@pytest.mark.parametrize("content", [b"", b"cut", b"\xff" * 128])
def test_damaged_fingerprints_are_computed_again(
    content: bytes, wav_corpus: Path, cache: Path
) -> None:
    tracks = musdb18hq(wav_corpus)
    expected = Store(cache, 8000, 1).tracks(tracks)
    for file in (cache / "fingerprints").iterdir():
        file.write_bytes(content)
    assert Store(cache, 8000, 1).tracks(tracks) == expected
    assert len({track.key for track in expected}) == len(tracks)


@pytest.fixture
def read_only(small_disk: Path) -> Callable[[], None]:
    def remount() -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    return remount


def test_read_only_disk_serves_copied_sources(
    wav_corpus: Path, small_disk: Path, tmp_path: Path, read_only: Callable[[], None]
) -> None:
    store = Store(small_disk, 4000, 1)
    front_end = FrontEnd(4000, window=256, hop=64, mel_bands=16, mfccs=4)
    expected = store.tracks(musdb18hq(wav_corpus))
    read_only()
    copy = Path(shutil.copytree(wav_corpus, tmp_path / "copy"))
    tracks = store.tracks(musdb18hq(copy))
    assert tracks == expected
    training = [track for track in tracks if track.subset == "train"]
    assert cached_statistics(training, front_end, ["magnitude"], small_disk)


def test_deleted_cache_is_created_again(wav_corpus: Path, cache: Path) -> None:
    tracks = musdb18hq(wav_corpus)[:1]
    [before] = Store(cache, 8000, 1).tracks(tracks)
    shutil.rmtree(cache)
    [after] = Store(cache, 8000, 1).tracks(tracks)
    assert after == before
    assert after.read("vocals").any()
