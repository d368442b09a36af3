"""Corpora with links, missing permissions, pipes and unusual file names."""

import os
import shutil
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemsplit.audio.entries import unreadable, visible
from stemsplit.data.corpora.folders import folder
from stemsplit.data.corpora.mir1k import mir1k
from stemsplit.data.corpora.musdb import musdb18, musdb18hq
from stemsplit.data.doctor.diagnosis import listing_findings
from stemsplit.data.headers import headers_of
from stemsplit.data.store.store import Store
from stemsplit.data.tracks import Track, with_stems, with_validation
from stemsplit.errors import InputError

STEMS = ("bass", "drums", "other", "vocals")
Lister = Callable[[Path], list[Track]]


def song(place: Path, seed: int = 0) -> Path:
    """A song in the layout of MUSDB18-HQ, which is also valid in a folder corpus."""
    place.mkdir(parents=True)
    noise = np.random.default_rng(seed).uniform(-0.1, 0.1, (4, 800, 2))
    for name, samples in {**dict(zip(STEMS, noise, strict=True)), "mixture": noise.sum(0)}.items():
        soundfile.write(place / f"{name}.wav", samples, 8000)
    return place


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, name in enumerate(("train/A", "train/B", "test/C")):
        song(tmp_path / "corpus" / name, number)
    return tmp_path / "corpus"


def faults(root: Path, tracks: list[Track]) -> list[str]:
    findings = listing_findings(root, tracks, STEMS, 2, ["B"])
    return [str(finding) for finding in findings if finding.severity == "fault"]


@pytest.mark.parametrize("lister", [folder, musdb18hq])
@pytest.mark.parametrize("stem", ["vocals", "mixture"])
def test_broken_link_to_stem_is_a_fault_with_both_paths(
    lister: Lister, stem: str, root: Path, cache: Path
) -> None:
    link = root / "train" / "A" / f"{stem}.wav"
    link.unlink()
    link.symlink_to("../gone/take.wav")
    tracks = lister(root)
    reason = f"{link}: is a link to {root}/train/gone/take.wav, which does not exist"
    [fault] = faults(root, tracks)
    assert fault.startswith(f"train/A: unreadable: {reason}")
    with pytest.raises(InputError) as refused:
        Store(cache, 8000, 2).tracks(with_stems(tracks, STEMS))
    assert str(refused.value).startswith(reason)


def test_broken_link_to_musdb18_file_is_a_fault(tmp_path: Path) -> None:
    link = tmp_path / "train" / "A.stem.mp4"
    link.parent.mkdir()
    link.symlink_to("/nowhere/A.stem.mp4")
    [fault] = [fault for fault in faults(tmp_path, musdb18(tmp_path)) if "unreadable" in fault]
    assert f"{link}: is a link to /nowhere/A.stem.mp4, which does not exist" in fault


@pytest.mark.parametrize("lister", [folder, musdb18hq])
@pytest.mark.parametrize("link", ["train/D", "train", "."])
def test_broken_link_to_folder_is_refused_with_both_paths(
    lister: Lister, link: str, root: Path
) -> None:
    place = root / link
    if place.exists():
        shutil.rmtree(place)
    place.symlink_to("/nowhere/at all")
    with pytest.raises(InputError, match=f"{place}: is a link to /nowhere/at all, which does not"):
        lister(root)


@pytest.mark.parametrize("lister", [folder, musdb18hq])
def test_links_to_folders_and_files_are_followed(lister: Lister, root: Path) -> None:
    (root / "train" / "A").rename(root.parent / "elsewhere")
    (root / "train" / "A").symlink_to(root.parent / "elsewhere")
    drums = root / "train" / "B" / "drums.wav"
    drums.rename(root.parent / "loop.wav")
    drums.symlink_to(root.parent / "loop.wav")
    tracks = lister(root)
    assert [track.name for track in tracks] == ["A", "B", "C"]
    assert faults(root, tracks) == []


@pytest.mark.parametrize("lister", [folder, musdb18hq])
def test_circular_links_are_reported(lister: Lister, root: Path) -> None:
    vocals = root / "train" / "A" / "vocals.wav"
    vocals.unlink()
    vocals.symlink_to(vocals)
    assert faults(root, lister(root))[0].startswith(
        f"train/A: unreadable: {vocals}: is a link to {vocals}, which cannot be followed"
    )
    (root / "train" / "D").symlink_to(root / "train" / "E")
    (root / "train" / "E").symlink_to(root / "train" / "D")
    with pytest.raises(
        InputError, match=r"train/D: is a link to .*train/E, which cannot be followed"
    ):
        lister(root)


@pytest.mark.parametrize("lister", [folder, musdb18hq])
def test_pipe_is_never_opened(lister: Lister, root: Path, cache: Path) -> None:
    pipe = root / "train" / "A" / "vocals.wav"
    pipe.unlink()
    os.mkfifo(pipe)
    reason = f"{pipe}: is a pipe, a socket or a device"
    tracks = lister(root)
    assert any(reason in fault for fault in faults(root, tracks))
    with pytest.raises(InputError, match=reason):
        Store(cache, 8000, 2).tracks(tracks)


def test_folder_instead_of_file_is_refused(root: Path) -> None:
    (root / "train" / "A" / "piano.wav").mkdir()
    with pytest.raises(InputError, match=r"piano\.wav: is a folder, but a file is expected"):
        folder(root)


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder for an ordinary user; permissions have no effect on root."""
    place = Path(tempfile.mkdtemp())
    user = os.geteuid()
    nobody = 65534
    if user == 0:
        os.chown(place, nobody, nobody)
        os.seteuid(nobody)
    try:
        yield place
    finally:
        os.seteuid(user)
        for entry in place.rglob("*"):
            if entry.is_dir():
                entry.chmod(0o700)
        shutil.rmtree(place)


@pytest.mark.parametrize("lister", [folder, musdb18hq])
def test_unreadable_file_is_not_called_damaged(lister: Lister, unprivileged: Path) -> None:
    song(unprivileged / "train" / "A")
    vocals = unprivileged / "train" / "A" / "vocals.wav"
    vocals.chmod(0)
    tracks = lister(unprivileged)
    [reason] = {text for text in headers_of(tracks).values() if isinstance(text, str)}
    assert reason.startswith(f"{vocals}: no permission")
    with pytest.raises(InputError, match=r"vocals\.wav: no permission"):
        Store(unprivileged / "cache", 8000, 2).tracks(tracks)


@pytest.mark.parametrize("lister", [folder, musdb18hq, mir1k])
@pytest.mark.parametrize("permissions", [0o000, 0o400, 0o100])
@pytest.mark.parametrize("closed", ["train/A", "train", "."])
def test_unreadable_folder_is_not_called_empty(
    lister: Lister, closed: str, permissions: int, unprivileged: Path
) -> None:
    song(unprivileged / "train" / "A")
    song(unprivileged / "train" / "B")
    place = unprivileged / closed if lister is not mir1k else unprivileged
    place.chmod(permissions)
    try:
        with pytest.raises(InputError, match=f"^{place}: no permission"):
            lister(unprivileged)
    finally:
        place.chmod(0o700)


@pytest.mark.parametrize("lister", [folder, musdb18, musdb18hq])
@pytest.mark.parametrize("name", ["Train", "TRAIN", "training"])
def test_misnamed_subset_folder_is_refused(lister: Lister, name: str, root: Path) -> None:
    (root / "train").rename(root / name)
    with pytest.raises(InputError, match=f"{root}/{name}: .* rename the folder to train"):
        lister(root)


@pytest.mark.parametrize("name", ["validation", "val", "Valid"])
def test_misnamed_validation_folder_is_refused(name: str, root: Path) -> None:
    song(root / name / "V", 7)
    with pytest.raises(InputError, match=f"{root}/{name}: .* rename the folder to valid"):
        folder(root)


@pytest.mark.parametrize("name", ["mix.m3u", "list.pls", "keys.mid", "a.txt", "a.jpg", ".DS_Store"])
def test_other_files_are_ignored(name: str, root: Path) -> None:
    before = folder(root)
    for place in (root, root / "train", root / "train" / "A"):
        (place / name).write_bytes(b"\x00")
        (place / f"._{name}.wav").write_bytes(b"\x00\x05\x16\x07")
    assert folder(root) == before
    assert faults(root, before) == []


@pytest.mark.parametrize("lister", [folder, musdb18hq])
def test_names_are_normalised_to_one_unicode_form(lister: Lister, root: Path, cache: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Ünö") for form in ("NFC", "NFD"))
    assert composed != decomposed
    (root / "train" / "A").rename(root / "train" / decomposed)
    tracks = with_validation(lister(root), [decomposed])
    assert {track.name: track.subset for track in tracks}[composed] == "valid"
    assert Store(cache, 8000, 2).tracks(tracks)  # the paths keep the form of the files
    shutil.copytree(root / "train" / "B", root / "test" / composed)
    with pytest.raises(InputError, match="has the same name"):
        lister(root)


def test_stem_in_two_unicode_forms_is_one_stem(root: Path) -> None:
    for number, form in enumerate(("NFC", "NFD")):
        name = unicodedata.normalize(form, "bässe.wav")
        (root / "train" / "AB"[number] / "bass.wav").rename(root / "train" / "AB"[number] / name)
    (root / "test" / "C" / "bass.wav").unlink()
    stems = {track.name: track.stems["bässe"] for track in folder(root)}
    assert stems["A"] is not None
    assert stems["B"] is not None
    assert stems["B"].path.is_file()
    assert stems["C"] is None


def test_misnamed_file_is_mentioned(root: Path) -> None:
    song_a, song_b = root / "train" / "A", root / "train" / "B"
    (song_a / "vocals.wav").rename(song_a / "Vocals.wav")
    (song_b / "drums.flac").write_bytes((song_b / "drums.wav").read_bytes())
    (song_b / "cover.jpg").write_bytes(b"")
    tracks = musdb18hq(root)
    with pytest.raises(
        InputError, match=r"no stem \['vocals'\].*; Vocals\.wav is ignored: .* vocal"
    ):
        with_stems(tracks, STEMS)
    texts = [str(finding) for finding in listing_findings(root, tracks, STEMS, 2, ["B"])]
    ignored = "is ignored: the file of the"
    assert f"train/A: not listed: Vocals.wav {ignored} vocals is vocals.wav" in texts
    assert f"train/B: not listed: drums.flac {ignored} drums is drums.wav" in texts
    assert not any("cover" in text for text in texts)
    (song_b / "mixture.wav").rename(song_b / "Mixture.wav")
    texts = faults(root, musdb18hq(root))
    assert any("mixture.wav is missing, but Mixture.wav exists" in text for text in texts)


def test_entries_are_sorted_by_composed_name(tmp_path: Path) -> None:
    names = [unicodedata.normalize("NFD", "ä"), "z", "a", ".hidden"]
    for name in names:
        (tmp_path / name).touch()
    assert [entry.name for entry in visible(tmp_path)] == ["a", "z", names[0]]
    assert unreadable(tmp_path / "b") == f"{tmp_path / 'b'}: does not exist"
