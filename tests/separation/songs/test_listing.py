"""Which songs a command line names."""

import os
from pathlib import Path

import pytest

from stemsplit.separation.songs.listing import Song, list_songs, song_name

OUTPUT = Path("separated")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three songs, a text, a hidden song and an output folder in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in (
        *("music/b.mp3", "music/album/a.WAV", "music/album/cd 2/c.flac"),
        *("music/notes.txt", "music/.hidden.mp3", "music/separated/b/vocals.wav"),
        "separated/b/vocals.wav",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def listed(*words: str, output: Path = OUTPUT) -> list[tuple[str, str]]:
    songs, errors = list_songs([Path(word) for word in words], output)
    assert not errors
    return [(str(song.path), song.name) for song in songs]


IN_MUSIC = [("music/album/a.WAV", "album/a"), ("music/album/cd 2/c.flac", "album/cd 2/c"),
            ("music/b.mp3", "b")]  # fmt: skip


@pytest.mark.parametrize("word", ["music", "music/", "./music", "mus*"])
def test_folder_is_searched_with_its_subfolders(word: str) -> None:
    assert listed(word, output=Path("music/separated")) == IN_MUSIC


def test_output_folder_is_left_out_only_inside_a_searched_folder() -> None:
    assert [name for _, name in listed(".")] == [
        *("music/album/a", "music/album/cd 2/c", "music/b", "music/separated/b/vocals"),
    ]
    assert listed("separated") == [("separated/b/vocals.wav", "b/vocals")]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [("music/*.mp3", ["b"]), ("music/**/*.[wW][aA][vV]", ["a", "vocals"]),
     ("*/album", ["a", "cd 2/c"])],
)  # fmt: skip
def test_pattern_is_expanded(pattern: str, names: list[str]) -> None:
    assert [name for _, name in listed(pattern)] == names


def test_file_with_brackets_is_not_a_pattern() -> None:
    Path("[live].mp3").touch()
    Path("l.mp3").touch()
    assert listed("[live].mp3") == [("[live].mp3", "[live]")]


def test_song_is_listed_once() -> None:
    Path("link.mp3").symlink_to("music/b.mp3")
    Path("music/loop").symlink_to(Path.cwd() / "music")
    words = ["music/b.mp3", f"../{Path.cwd().name}/music/b.mp3", "link.mp3", "music"]
    assert sorted(listed(*words, output=Path("music/separated"))) == sorted(IN_MUSIC)


def test_entries_that_cannot_be_read_are_errors() -> None:
    Path("music/broken.mp3").symlink_to("nowhere.mp3")
    Path("empty").mkdir()
    os.mkfifo("pipe.wav")
    words = [
        Path(word) for word in ("absent.mp3", "*.ogg", "empty", "pipe.wav", "music/album", "music")
    ]
    songs, errors = list_songs(list(map(Path, words)), Path("music/separated"))
    assert songs == [
        Song(Path("music/album/a.WAV"), "a"),
        Song(Path("music/album/cd 2/c.flac"), "cd 2/c"),
        Song(Path("music/b.mp3"), "b"),
    ]
    assert [str(path) for path in errors] == [
        *("absent.mp3", "*.ogg", "empty", "pipe.wav", "music/broken.mp3"),
    ]
    assert errors[Path("absent.mp3")] == "absent.mp3: does not exist"
    assert errors[Path("*.ogg")] == "*.ogg: no file has this name or matches this pattern"
    assert errors[Path("empty")].startswith("empty: holds no audio file")
    assert errors[Path("music/broken.mp3")].startswith("music/broken.mp3: is a link to ")


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("song.mp3", "song"),
        ("song.stem.mp4", "song"),
        ("Song.WAV", "Song"),
        ("clip.mov", "clip"),
        ("Mr. Brightside", "Mr. Brightside"),
        ("Mr. Brightside.flac", "Mr. Brightside"),
        ("Symphony No.5", "Symphony No.5"),
        ("...wav", "song"),
        ("..wav", "song"),
        ("....mp3", "song"),
        ("..stem.mp4", "song"),
        ("...", "song"),
        ("..a.wav", "..a"),
    ],
)
def test_name_of_a_song_has_no_suffix(name: str, folder: str) -> None:
    assert song_name(Path(name)) == folder
