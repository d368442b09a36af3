"""Names of stem files, made from templates."""

import os
from pathlib import Path

import pytest

from stemsplit.errors import InputError
from stemsplit.separation.songs.naming import check_template, model_name, relative_path

SONG, STEM, MODEL = "song", "vocals", "umxhq"


def path_of(template: str, song: str = SONG, stem: str = STEM) -> str:
    check_template(template, "wav")
    return str(relative_path(template, song, stem, MODEL, ".wav"))


@pytest.mark.parametrize(
    ("template", "path"),
    [
        ("{song}/{stem}", "song/vocals.wav"),
        ("{song} - {stem}", "song - vocals.wav"),
        ("{model}/{stem}/{song}", "umxhq/vocals/song.wav"),
        ("{{{stem}}} of {song}", "{vocals} of song.wav"),
    ],
)
def test_fields_are_filled_in(template: str, path: str) -> None:
    assert path_of(template) == path


def test_song_in_a_subfolder_keeps_the_subfolder() -> None:
    assert path_of("{song} - {stem}", song="album/a") == "album/a - vocals.wav"


@pytest.mark.parametrize("song", ["{stem}", "a{b", "-x", "*?[", "日本", "\n'\"", "…", "a b"])
def test_name_of_a_song_is_not_a_template(song: str) -> None:
    assert path_of("{song}/{stem}", song=song) == f"{song}/vocals.wav"


@pytest.mark.parametrize(
    "template",
    ["", "{stem", "stem}", "{stem!r}", "{stem:>9}", "{title}/{stem}", "{0}/{stem}", "{}{stem}",
     "{stem.__class__}", "{song}", "../{stem}", "{song}/../{stem}", "/{stem}", "{stem}/",
     "a//{stem}", "./{stem}"],
)  # fmt: skip
def test_invalid_template_is_one_line(template: str) -> None:
    with pytest.raises(InputError) as caught:
        check_template(template, "wav")
    assert str(caught.value).startswith(f"name {template!r}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("template", ["\0{stem}", "a\0/{stem}", "x" * 300 + "{stem}"])
def test_name_that_no_file_system_accepts_is_one_line(template: str) -> None:
    with pytest.raises(InputError, match="choose another name"):
        check_template(template, "wav")


@pytest.mark.parametrize("template", ["{song}/{stem}", "{stem}"])
def test_stem_is_no_field_of_a_file_with_all_stems(template: str) -> None:
    check_template("{model}/{song}", "stem.mp4")
    with pytest.raises(InputError, match="holds all stems"):
        check_template(template, "stem.mp4")


@pytest.mark.parametrize("template", ["{song}/{stem}", "{song} - {stem}", "{stem} - {song}"])
def test_long_name_is_shortened_and_shows_the_stem(template: str) -> None:
    names = [f"{'ü' * 120}{number}" + "x" * 14 for number in range(2)]  # 255 bytes
    paths = [
        path_of(template, song=name, stem=stem) for name in names for stem in ("vocals", "drums")
    ]
    assert len(set(paths)) == 4
    assert all(len(os.fsencode(part)) <= 255 for path in paths for part in path.split("/"))
    assert ["vocals" in path for path in paths] == [True, False, True, False]


def test_model_has_a_short_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert model_name("umxhq") == "umxhq"
    assert model_name(Path("runs/2026-01-01/12-00-00-mel_blstm")) == "12-00-00-mel_blstm"
    assert model_name("runs/today/best.ckpt") == "today"
    assert model_name(["a/vocals-b62c91ce.pth", "umx"]) == "vocals-b62c91ce+umx"
    assert model_name(".") == tmp_path.name
