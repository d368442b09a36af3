"""Listers find the songs of a corpus, and errors name missing songs and stems."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest

from stemsplit.data.corpora.musdb import musdb7, musdb18, musdb18hq
from stemsplit.data.store.store import Store
from stemsplit.data.tracks import AudioSource, Track, of_subset, with_stems, with_validation
from stemsplit.errors import InputError

STEMS = ["drums", "bass", "other", "vocals"]
OFFICIAL = "Leaf - Summerghost"  # an official validation song of MUSDB18
OTHER = "Pell Orrin - Wire Garden"
TEST = "Orla Quayle - Night Ferry"

Lister = Callable[[Path], list[Track]]


@pytest.fixture
def written(stem_corpus: Path, tmp_path: Path) -> Path:
    """A copy of a training and a test song of the corpus, which a test may change."""
    for song in (f"train/{OTHER}", f"test/{TEST}"):
        (tmp_path / "written" / song).parent.mkdir(parents=True)
        shutil.copy(stem_corpus / f"{song}.stem.mp4", tmp_path / "written" / f"{song}.stem.mp4")
    return tmp_path / "written"


@pytest.fixture(scope="module")
def listed(stem_corpus: Path) -> list[Track]:
    return musdb18(stem_corpus)


def names(tracks: list[Track]) -> set[str]:
    return {f"{track.subset}/{track.name}" for track in tracks}


def test_musdb18(listed: list[Track], stem_corpus: Path, songs: dict) -> None:
    assert names(listed) == set(songs)
    for track in listed:
        path = stem_corpus / track.subset / f"{track.name}.stem.mp4"
        assert track.mixture == AudioSource(path, 0)
        assert track.stems == {stem: AudioSource(path, 1 + i) for i, stem in enumerate(STEMS)}


def test_musdb18hq(wav_corpus: Path, songs: dict) -> None:
    tracks = musdb18hq(wav_corpus)
    assert names(tracks) == set(songs)
    for track in tracks:
        folder = wav_corpus / track.subset / track.name
        assert track.mixture == AudioSource(folder / "mixture.wav")
        assert track.stems == {stem: AudioSource(folder / f"{stem}.wav") for stem in STEMS}


def test_official_validation_songs_are_recognised_by_name(written: Path) -> None:
    file = written / "train" / f"{OTHER}.stem.mp4"
    (written / "train" / f"{OFFICIAL}.stem.mp4").symlink_to(file)
    songs = names(musdb18(written))
    assert {f"valid/{OFFICIAL}", f"train/{OTHER}"} < songs
    assert f"train/{OFFICIAL}" not in songs
    # In the test folder, the song stays a test song; a name in both folders is an error.
    (written / "test" / f"{OFFICIAL}.stem.mp4").symlink_to(file)
    with pytest.raises(InputError, match=r"Summerghost.* has the same name; rename or remove"):
        musdb18(written)
    (written / "train" / f"{OFFICIAL}.stem.mp4").unlink()
    assert f"test/{OFFICIAL}" in names(musdb18(written))


def test_test_folder_is_optional(written: Path) -> None:
    shutil.rmtree(written / "test")
    tracks = musdb18(written)
    assert names(tracks) == {f"train/{OTHER}"}
    with pytest.raises(InputError, match=r"scoring needs test songs"):
        of_subset(tracks, "test", written)
    with pytest.raises(InputError, match=rf"validation_tracks.*{OTHER}"):
        of_subset(tracks, "valid", written)


def test_other_files_are_ignored(written: Path) -> None:
    (written / "train" / "notes.txt").write_text("mixed by ear")
    (written / "train" / "loose.wav").write_bytes(b"")
    # macOS writes such resource files to disks with other file systems.
    (written / "train" / f"._{OTHER}.stem.mp4").write_bytes(b"\x00\x05\x16\x07")
    assert names(musdb18(written)) == {f"train/{OTHER}", f"test/{TEST}"}


def test_validation_songs_are_chosen_by_name(listed: list[Track], stem_corpus: Path) -> None:
    first = with_validation(listed, [OTHER])
    assert {track.name for track in of_subset(first, "valid", stem_corpus)} == {OTHER}
    # A second choice replaces the first one and does not change the test songs.
    second = with_validation(first, ["The Low Kettles - Ash And Ember"])
    assert f"train/{OTHER}" in names(second)
    assert len(second) == len(first)
    assert of_subset(second, "test", stem_corpus) == of_subset(first, "test", stem_corpus)


@pytest.mark.parametrize("name", ["Nobody - Nothing", TEST])
def test_only_training_songs_can_validate(name: str, listed: list[Track]) -> None:
    with pytest.raises(InputError, match=rf"{name}.*are not training songs.*{OTHER}"):
        with_validation(listed, [OTHER, name])


@pytest.mark.parametrize("lister", [musdb18, musdb18hq])
def test_root_without_corpus_is_refused(lister: Lister, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent: does not exist"):
        lister(tmp_path / "absent")
    with pytest.raises(InputError, match=f"{re.escape(str(tmp_path))}: has neither a train nor"):
        lister(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(InputError, match=f"{re.escape(str(tmp_path))}: no songs in train"):
        lister(tmp_path)


def test_error_suggests_the_other_layout(wav_corpus: Path, stem_corpus: Path) -> None:
    with pytest.raises(InputError, match="musdb18hq"):
        musdb18(wav_corpus)
    with pytest.raises(InputError, match=r"mixture\.wav"):
        musdb18hq(stem_corpus)


def test_previews_have_the_layout_of_musdb18(stem_corpus: Path) -> None:
    assert musdb7(stem_corpus) == musdb18(stem_corpus)


def test_previews_without_network_raise_input_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr("musdb.urlopen", unreachable)
    with pytest.raises(InputError, match=r"musdb7: .*no network.*run python -c .*data\.root="):
        musdb7(tmp_path / "musdb7")


def test_previews_are_not_downloaded_to_a_used_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musdb.urlopen", lambda *_: pytest.fail("musdb downloads"))
    (tmp_path / "songs").mkdir()
    with pytest.raises(InputError, match="neither a train nor a test folder"):
        musdb7(tmp_path)


def test_song_without_requested_stems_is_refused(tmp_path: Path) -> None:
    drums = AudioSource(tmp_path / "song" / "drums.wav")
    track = Track("song", "train", None, {"drums": drums, "vocals": None})
    assert with_stems([track], ["drums", "vocals"]) == [track]
    with pytest.raises(InputError, match=r"song: has neither .* stems \['vocals'\]"):
        with_stems([track], ["vocals"])


def test_only_requested_stems_are_kept(wav_corpus: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(wav_corpus, tmp_path / "copy"))
    (root / "train" / OTHER / "bass.wav").unlink()
    tracks = musdb18hq(root)
    for track in with_stems(tracks, ["vocals", "drums"]):
        assert list(track.stems) == ["vocals", "drums"]
    with pytest.raises(InputError, match=rf"{OTHER}.*no stem \['bass'\]; it has .*vocals"):
        with_stems(tracks, STEMS)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_error_names_damaged_song(share: float, written: Path, cache: Path) -> None:
    song = written / "train" / f"{OTHER}.stem.mp4"
    content = song.read_bytes()
    song.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=re.escape(str(song))):
        Store(cache, 8000, 1).tracks(musdb18(written))


def test_folder_within_a_song_is_ignored(wav_corpus: Path, tmp_path: Path, songs: dict) -> None:
    root = Path(shutil.copytree(wav_corpus, tmp_path / "copy"))
    (root / "train" / OTHER / "estimates").mkdir()
    assert names(musdb18hq(root)) == set(songs)
