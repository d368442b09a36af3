"""The command stemsplit.data lists the stored songs, verifies them and removes unused ones."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from stemsplit.data.corpora.musdb import musdb18hq
from stemsplit.data.store.store import Store
from stemsplit.data.store.track_folders import DAY
from stemsplit.data.store.upkeep import clean, entries, verify
from stemsplit.data.tracks import Track


@pytest.fixture
def store(wav_corpus: Path, cache: Path) -> Store:
    return Store(cache, 8000, 1)


@pytest.fixture
def listed(wav_corpus: Path) -> list[Track]:
    return musdb18hq(wav_corpus)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def run(command: str, cache: Path, *options: str) -> subprocess.CompletedProcess:
    words = [sys.executable, "-m", "stemsplit.data", "--cache", str(cache), command, *options]
    return subprocess.run(words, capture_output=True, text=True)


def test_list_shows_songs_by_size(store: Store, listed: list[Track], cache: Path) -> None:
    tracks = store.tracks(listed)
    songs = entries(cache)
    assert {song.name for song in songs} == {track.name for track in tracks}
    assert [song.size for song in songs] == sorted((song.size for song in songs), reverse=True)
    assert all(song.path.startswith(str(listed[0].path.parents[2])) for song in songs)
    process = run("list", cache)
    assert process.returncode == 0
    assert all(track.name.split()[0] in process.stdout for track in tracks)


def test_flipped_bit_is_detected_and_song_decoded_again(
    store: Store, listed: list[Track], cache: Path
) -> None:
    first, *others = store.tracks(listed)
    samples = np.array(first.samples)
    assert all(intact for _, intact in verify(cache))
    assert run("verify", cache).returncode == 0
    flip_a_bit(first.folder / "samples.npy")
    assert {folder for folder, intact in verify(cache) if not intact} == {first.folder}
    verified = run("verify", cache)
    assert verified.returncode == 1
    assert f"damaged: {first.folder}" in verified.stdout
    cleaned = run("clean", cache)
    assert cleaned.stdout.splitlines() == [f"removed {first.folder}: it is damaged"]
    assert {entry.folder for entry in entries(cache)} == {track.folder for track in others}
    again, *_ = store.tracks(listed)
    np.testing.assert_array_equal(again.samples, samples)


def test_clean_removes_unused_songs(store: Store, listed: list[Track], cache: Path) -> None:
    old, *others = store.tracks(listed)
    week_ago = time.time() - 7 * DAY
    os.utime(old.folder / "track.json", (week_ago, week_ago))
    assert not list(clean(cache, None))
    assert [folder for folder, _ in clean(cache, 5)] == [old.folder]
    store.tracks(listed[1:])
    assert not list(clean(cache, 5))
    assert {folder for folder, _ in clean(cache, 0)} == {track.folder for track in others}


def test_opening_a_song_resets_its_unused_days(
    store: Store, listed: list[Track], cache: Path
) -> None:
    [stored] = store.tracks(listed[:1])
    week_ago = time.time() - 7 * DAY
    os.utime(stored.folder / "track.json", (week_ago, week_ago))
    assert entries(cache)[0].unused_days > 6
    store.tracks(listed[:1])
    assert entries(cache)[0].unused_days < 1


def test_clean_removes_old_leftovers_only(cache: Path) -> None:
    old, new, other_version = (
        cache / "tracks" / name for name in (".partial-old", ".partial-new", "0123456789abcdef")
    )
    for folder in (old, new, other_version):
        folder.mkdir(parents=True)
        (folder / "samples.npy").write_bytes(b"half of a so")
    two_days_ago = time.time() - 2 * DAY
    os.utime(old, (two_days_ago, two_days_ago))
    removed = dict(clean(cache, None))
    assert set(removed) == {old, other_version}
    assert new.is_dir()


def test_missing_cache_folder_is_one_line_error(tmp_path: Path) -> None:
    for command in ("list", "verify", "clean"):
        process = run(command, tmp_path / "nowhere")
        assert process.returncode == 1
        assert "nowhere: the folder does not exist" in process.stderr
        assert len(process.stderr.splitlines()) == 1


def test_damaged_facts_and_links_are_handled(
    store: Store, listed: list[Track], cache: Path, tmp_path: Path
) -> None:
    first, *others = store.tracks(listed)
    facts = json.loads((first.folder / "track.json").read_text())
    del facts["crc32"], facts["name"]
    (first.folder / "track.json").write_text(json.dumps(facts))
    (cache / "tracks" / "link").symlink_to(tmp_path, target_is_directory=True)
    assert len(entries(cache)) == len(others)
    assert {folder for folder, intact in verify(cache) if not intact} == {first.folder}
    assert [folder for folder, _ in clean(cache, None)] == [first.folder]
    assert tmp_path.is_dir()


def test_overwritten_levels_are_detected(store: Store, listed: list[Track], cache: Path) -> None:
    [stored] = store.tracks(listed[:1])
    np.save(stored.folder / "levels.npy", 0 * stored.levels)
    assert not dict(verify(cache))[stored.folder]


@pytest.mark.parametrize("days", ["-3", "nan", "many"])
def test_unused_days_must_be_a_number(days: str, cache: Path) -> None:
    process = run("clean", cache, "--unused-days", days)
    assert process.returncode == 2
    assert "invalid days value" in process.stderr


def test_unused_days_are_not_negative(store: Store, listed: list[Track], cache: Path) -> None:
    [track] = store.tracks(listed[:1])
    ahead = time.time() + 1496 * DAY
    os.utime(track.folder / "track.json", (ahead, ahead))
    assert [entry.unused_days for entry in entries(cache)] == [0]
    assert [reason for _, reason in clean(cache, 0)] == ["was not used for 0 days"]
