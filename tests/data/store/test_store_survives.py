"""The store under attack: killed, out of room, its files and its sources changed behind it."""

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
from stemsplit.data.store.store import Store, is_whole, size
from stemsplit.data.tracks import AudioSource, Track
from stemsplit.errors import InputError
from stemsplit.separation.front_end import FrontEnd

RATE = 44100
DECODE = (
    "import os, pathlib, pickle, sys\n"
    "from stemsplit.data.store import store\n"
    "store.WORKER_PAYS = float(sys.argv[2])\n"
    "os.cpu_count = lambda: 2\n"
    "store.Store(pathlib.Path(sys.argv[1]), 44100, 2).tracks(pickle.load(sys.stdin.buffer))\n"
)
IN_ONE_PROCESS, IN_WORKERS = "inf", "1"


@pytest.fixture
def many(stem_corpus: Path, tmp_path: Path) -> list[Track]:
    """Sixteen songs, which differ by a byte behind their audio."""
    [source, *_] = sorted((stem_corpus / "train").iterdir())
    (tmp_path / "many" / "train").mkdir(parents=True)
    for song in range(16):
        copy = tmp_path / "many" / "train" / f"Song {song}.stem.mp4"
        copy.write_bytes(source.read_bytes() + (8).to_bytes(4, "big") + b"free" + bytes([song]))
    return musdb18(tmp_path / "many")


@pytest.mark.parametrize(
    ("songs_done", "where"), [(0, IN_ONE_PROCESS), (7, IN_ONE_PROCESS), (5, IN_WORKERS)]
)
def test_a_killed_decoding_goes_on(
    songs_done: int, where: str, many: list[Track], cache: Path
) -> None:
    script = [sys.executable, "-c", DECODE, str(cache), where]
    process = subprocess.Popen(script, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(pickle.dumps(many))
    process.stdin.close()
    folder = cache / "tracks"
    # The fewest that are wanted, then the next moment in which one is being written.
    while process.poll() is None:
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        partial = [name for name in names if name.startswith(".partial-")]
        if len(names) - len(partial) >= songs_done and partial:
            break
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was killed, not done"
    kept = {path for path in folder.iterdir() if not path.name.startswith(".partial-")}
    assert all(is_whole(path) for path in kept)
    assert songs_done <= len(kept) < len(many)
    written = {path: (path / "samples.npy").stat().st_mtime_ns for path in kept}
    tracks = Store(cache, RATE, 2).tracks(many)
    assert all((path / "samples.npy").stat().st_mtime_ns == written[path] for path in kept)
    assert len({track.key for track in tracks}) == len(many)
    [whole] = Store(cache.with_name("other"), RATE, 2).tracks(many[:1])
    for track in tracks:
        np.testing.assert_array_equal(track.samples, whole.samples)


def test_workers_decode_the_same(
    wav_corpus: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracks = musdb18hq(wav_corpus)
    alone = Store(cache, 8000, 1).tracks(tracks)
    monkeypatch.setattr(store_module, "WORKER_PAYS", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    helped = Store(tmp_path / "helped", 8000, 1).tracks(tracks)
    for one, other in zip(alone, helped, strict=True):
        np.testing.assert_array_equal(one.samples, other.samples)
        np.testing.assert_array_equal(one.levels, other.levels)


def test_a_song_that_a_worker_cannot_decode_is_named_and_the_others_stay(
    wav_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(shutil.copytree(wav_corpus, tmp_path / "corpus"))
    tracks = musdb18hq(root)
    broken = tracks[-1].stems["drums"].path
    broken.write_bytes(broken.read_bytes()[:20000])
    monkeypatch.setattr(store_module, "WORKER_PAYS", 1)
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
    stored_module._maps.cache_clear()  # a mapped song keeps its file system busy
    subprocess.run(["umount", str(folder)], check=True)


def test_what_cannot_fit_is_refused_before_it_starts(
    wav_corpus: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracks = musdb18hq(wav_corpus)
    message = r"4 MB free, but 4 songs take about \d+ MB decoded: free some space.*data\.cache"
    with pytest.raises(InputError, match=message):
        Store(small_disk, RATE, 2).tracks(tracks)
    assert not list((small_disk / "tracks").iterdir())
    # At a lower rate it fits, and this is said beforehand.
    assert len(Store(small_disk, 4000, 1).tracks(tracks)) == 4
    assert "4 songs take about 1 MB decoded" in capsys.readouterr().err


def test_a_disk_that_fills_up_meanwhile_is_said_in_one_line(
    wav_corpus: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracks = musdb18hq(wav_corpus)[:1]
    store = Store(small_disk, RATE, 2)
    taken = small_disk / "taken by others"

    def take_room(*_: object) -> None:
        (small_disk / "tracks").mkdir(parents=True)
        taken.write_bytes(bytes(3 * 2**20))

    with monkeypatch.context() as patched:
        patched.setattr(store, "_check_room", take_room)
        with pytest.raises(
            InputError, match=r"the disk is full; decoded, .* takes 3 MB.*data\.cache"
        ):
            store.tracks(tracks)
    assert not list((small_disk / "tracks").iterdir()), "nothing half-written stays"
    taken.unlink()
    [stored] = store.tracks(tracks)
    assert is_whole(stored.folder)


@pytest.mark.parametrize("layout", ["stem", "wav"])
def test_the_estimate_is_what_it_takes(
    layout: str, cache: Path, request: pytest.FixtureRequest
) -> None:
    lister = {"stem": musdb18, "wav": musdb18hq}[layout]
    tracks = lister(request.getfixturevalue(f"{layout}_corpus"))
    store = Store(cache, 22050, 2)
    expected = store._sizes(tracks)
    for estimate, stored in zip(expected, store.tracks(tracks), strict=True):
        assert stored.samples.nbytes == pytest.approx(estimate, rel=0.02)


def noise(folder: Path, seed: int) -> Track:
    folder.mkdir(exist_ok=True)
    samples = np.random.default_rng(seed).integers(-9999, 9999, (2, 3000)).astype(np.int16)
    for name in ("mixture", "vocals"):
        soundfile.write(folder / f"{name}.wav", samples.T, RATE, "PCM_16")
    vocals = {"vocals": AudioSource(folder / "vocals.wav")}
    return Track("s", "train", AudioSource(folder / "mixture.wav"), vocals)


def test_a_source_that_changed_and_says_it_did_not_is_decoded_anew(
    cache: Path, tmp_path: Path
) -> None:
    """As a copy that keeps the times does: same path, same size, same time of modification."""
    store = Store(cache, RATE, 2)
    track = noise(tmp_path / "s", 0)
    times = {path: path.stat() for path in (tmp_path / "s").iterdir()}
    [before] = store.tracks([track])
    noise(tmp_path / "s", 1)
    for path, stat in times.items():
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert path.stat().st_size == stat.st_size
    [after] = store.tracks([track])
    [expected] = Store(cache.with_name("other"), RATE, 2).tracks([noise(tmp_path / "s", 1)])
    assert before.key != after.key
    np.testing.assert_array_equal(after.samples, expected.samples)


def test_a_cache_that_may_only_be_read_serves(
    wav_corpus: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracks = musdb18hq(wav_corpus)
    store = Store(cache, 8000, 1)
    expected = store.tracks(tracks)
    monkeypatch.setattr(os, "access", lambda path, mode, **_: not mode & os.W_OK)
    monkeypatch.setattr(os, "utime", lambda *_: (_ for _ in ()).throw(PermissionError()))
    assert store.tracks(tracks) == expected


@pytest.mark.parametrize("content", [b"", b"cut", b"\xff" * 128])
def test_damaged_fingerprints_are_taken_anew(content: bytes, wav_corpus: Path, cache: Path) -> None:
    tracks = musdb18hq(wav_corpus)
    expected = Store(cache, 8000, 1).tracks(tracks)
    for memo in (cache / "fingerprints").iterdir():
        memo.write_bytes(content)
    assert Store(cache, 8000, 1).tracks(tracks) == expected
    assert len({track.key for track in expected}) == len(tracks)


@pytest.fixture
def read_only(small_disk: Path) -> Callable[[], None]:
    def remount() -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    return remount


def test_a_disk_that_may_only_be_read_serves_sources_that_are_new_to_it(
    wav_corpus: Path, small_disk: Path, tmp_path: Path, read_only: Callable[[], None]
) -> None:
    store = Store(small_disk, 4000, 1)
    front_end = FrontEnd(4000, window=256, hop=64, mel_bands=16, mfccs=4)
    expected = store.tracks(musdb18hq(wav_corpus))
    read_only()
    elsewhere = Path(shutil.copytree(wav_corpus, tmp_path / "elsewhere"))
    tracks = store.tracks(musdb18hq(elsewhere))
    assert tracks == expected
    trained = [track for track in tracks if track.subset == "train"]
    assert cached_statistics(trained, front_end, ["magnitude"], small_disk)


def test_sizes_are_read_by_people() -> None:
    assert size(21_300_000_000) == "21.3 GB"
    assert size(4_400_000) == "4 MB"


def test_a_cache_that_is_gone_is_made_anew(wav_corpus: Path, cache: Path) -> None:
    tracks = musdb18hq(wav_corpus)[:1]
    [before] = Store(cache, 8000, 1).tracks(tracks)
    shutil.rmtree(cache)
    [after] = Store(cache, 8000, 1).tracks(tracks)
    assert after == before
    assert after.read("vocals").any()
