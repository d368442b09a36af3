"""The commands `separate` and `combine`: their output folders and their errors."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from full_disk import no_file_larger_than

from stemsplit import audio, combine, separate
from stemsplit.separation.checkpoint import build, save
from stemsplit.separation.songs import folder_name

RATE = 8000
FRONT_END = {"sample_rate": RATE, "window": 256, "hop": 64, "mel_bands": 16, "mfccs": 4}
MLP = {"class": "stemsplit.models.mlp.Mlp", "hidden": 8}


def checkpoint_for(path: Path, *targets: str) -> Path:
    torch.manual_seed(0)
    save(build(FRONT_END, MLP, targets, "rest", 2, 1, 0.5, 0.1), path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint_for(tmp_path_factory.mktemp("checkpoint") / "vocals.ckpt", "vocals")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which becomes the working directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def song_at(path: str | Path, seconds: float = 1.0) -> str:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (round(RATE * seconds), 2))
    with open(path, "wb") as file:
        soundfile.write(file, samples, RATE, format="WAV")
    return str(path)


def separate_songs(checkpoint: Path, *arguments: str) -> None:
    separate.main([*arguments, "--checkpoint", str(checkpoint), "--output", "out"])


def refused(checkpoint: Path, *arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        separate_songs(checkpoint, *arguments)
    assert ended.value.code == 1


def files_in(folder: str | Path) -> list[str]:
    return sorted(
        str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()
    )


def stems_of(*songs: str) -> list[str]:
    return sorted(f"{song}/{stem}.wav" for song in songs for stem in ("rest", "vocals"))


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
def test_folder_has_the_name_of_the_song(name: str, folder: str) -> None:
    assert folder_name(Path(name)) == folder


@pytest.mark.usefixtures("here")
def test_song_named_with_dots_stays_in_the_output(checkpoint: Path) -> None:
    song = song_at("...wav")
    separate_songs(checkpoint, song)
    assert files_in(".") == sorted(["...wav", *(f"out/{stem}" for stem in stems_of("song"))])


@pytest.mark.usefixtures("here")
def test_failing_songs_do_not_stop_the_others(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad one.wav").write_bytes(b"RIFF and no more")
    Path("folder.wav").mkdir()
    songs = [song_at("a.wav"), "absent.wav", "bad one.wav", "folder.wav", song_at("z.wav")]
    refused(checkpoint, *songs)
    assert files_in("out") == stems_of("a", "z")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: absent.wav: does not exist"
    assert lines[1].startswith("error: folder.wav: is a folder")
    assert lines[2].startswith("error: bad one.wav: ")
    assert lines[3:] == [
        "error: 3 of 5 songs were not separated: absent.wav, folder.wav, 'bad one.wav'"
    ]


@pytest.mark.usefixtures("here")
def test_single_failing_song_prints_one_line(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(checkpoint, "absent.wav")
    assert capsys.readouterr().err == "error: absent.wav: does not exist\n"


@pytest.mark.usefixtures("here")
def test_song_listed_twice_is_separated_once(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    song = song_at("a.wav")
    Path("link.wav").symlink_to(song)
    separate_songs(checkpoint, song, song, f"../{Path.cwd().name}/a.wav", "link.wav")
    assert files_in("out") == stems_of("a")
    assert capsys.readouterr().out.splitlines().count("a.wav") == 1


@pytest.mark.usefixtures("here")
def test_second_song_with_the_same_name_fails(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("other").mkdir()
    refused(checkpoint, song_at("a.wav"), song_at("other/a.wav"), song_at("b.wav"))
    assert files_in("out") == stems_of("a", "b")
    error, _ = capsys.readouterr().err.splitlines()
    assert (
        error == "error: other/a.wav: its stems would go to out/a, like those of a.wav; "
        "rename one song"
    )


@pytest.mark.usefixtures("here")
def test_output_is_checked_before_the_model_is_loaded(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    song = song_at("a.wav")
    Path("out").touch()
    refused(tmp_path / "absent.ckpt", song)  # a missing checkpoint would be the next error
    assert capsys.readouterr().err.startswith("error: out: is not writable (")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.usefixtures("here")
def test_folder_without_write_permission_is_refused(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    song = song_at("a.wav")
    Path("out").mkdir(mode=0o500)
    refused(checkpoint, song)
    assert capsys.readouterr().err.startswith("error: out: is not writable (Permission denied")


@pytest.mark.parametrize("at", [0, 1], ids=["first stem", "second stem"])
@pytest.mark.usefixtures("here")
def test_full_disk_keeps_the_old_stems(
    checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    at: int,
) -> None:
    separate_songs(checkpoint, song_at("a.wav"))
    before = {path: path.read_bytes() for path in Path("out").rglob("*.wav")}
    song_at("a.wav", seconds=2)
    written = iter(range(2))
    write = audio.write

    def write_until_full(*arguments: object) -> None:
        with no_file_larger_than(1000 if next(written) == at else 10**9):
            write(*arguments)

    monkeypatch.setattr(audio, "write", write_until_full)
    capsys.readouterr()
    refused(checkpoint, "a.wav")
    line = f"error: out/a/{('vocals', 'rest')[at]}.wav: File too large\n"
    assert capsys.readouterr().err == line
    assert {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()} == before


@pytest.mark.usefixtures("here")
def test_interrupted_separation_leaves_no_files(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    song = song_at("a.wav")
    monkeypatch.setattr(audio, "write", interrupted)
    with pytest.raises(SystemExit) as ended:
        separate_songs(checkpoint, song)
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert files_in("out") == []


@pytest.mark.usefixtures("here")
def test_folder_with_stems_of_another_separator_is_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    song = song_at("a.wav")
    separate_songs(checkpoint, song)
    refused(checkpoint_for(tmp_path / "drums.ckpt", "drums"), song)
    assert "out/a: holds vocals.wav, which this separator does not write" in capsys.readouterr().err
    assert files_in("out") == stems_of("a")
    separate_songs(checkpoint, song)  # the same separator replaces its stems


@pytest.mark.usefixtures("here")
def test_song_may_be_in_the_folder_of_its_stems(checkpoint: Path) -> None:
    Path("out/a").mkdir(parents=True)
    separate_songs(checkpoint, song_at("out/a/a.wav"))
    assert files_in("out") == sorted([*stems_of("a"), "a/a.wav"])


@pytest.mark.usefixtures("here")
def test_loud_sample_is_reported_and_stems_are_finite(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = np.full((RATE, 2), 0.1, np.float32)
    samples[RATE // 2, 1] = 1e30
    soundfile.write("a.wav", samples, RATE, subtype="FLOAT")
    separate_songs(checkpoint, "a.wav")
    assert "a.wav: reaches 1e+30 at 0.50 s" in capsys.readouterr().err
    stems = [soundfile.read(f"out/{stem}")[0] for stem in stems_of("a")]
    assert all(np.isfinite(stem).all() for stem in stems)
    np.testing.assert_allclose(sum(stems), samples, rtol=0, atol=1e24)


@pytest.mark.usefixtures("here")
def test_closed_output_pipe_does_not_stop_the_separation(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", 1) as stream, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stream)
        separate_songs(checkpoint, song_at("a.wav"), song_at("b.wav"))
    assert files_in("out") == stems_of("a", "b")


@pytest.mark.usefixtures("here")
def test_printed_paths_are_quoted_for_a_shell(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    separate_songs(checkpoint, song_at("a song.wav"))
    printed = capsys.readouterr().out
    assert "'out/a song/vocals.wav'\n" in printed
    assert "'a song.wav'\n" in printed


@pytest.mark.skipif(sys.platform != "linux", reason="other systems require UTF-8 names")
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp932"])
@pytest.mark.usefixtures("here")
def test_song_name_may_be_invalid_utf_8(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    song = song_at(os.fsdecode(b"caf\xe9.wav"))
    with open("printed", "w", encoding=encoding) as stream, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stream)
        separate_songs(checkpoint, song)
    assert os.listdir(b"out") == [b"caf\xe9"]
    assert sorted(os.listdir(b"out/caf\xe9")) == [b"rest.wav", b"vocals.wav"]


@pytest.mark.usefixtures("here")
def test_full_disk_in_combine_leaves_no_file(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drums = checkpoint_for(tmp_path / "drums.ckpt", "drums")
    with no_file_larger_than(2000), pytest.raises(SystemExit) as ended:
        combine.main([str(checkpoint), str(drums), "--output", "out/bag.ckpt"])
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: out/bag.ckpt: File too large\n"
    assert files_in(".") == []


@pytest.mark.usefixtures("here")
def test_invalid_input_creates_no_folder(checkpoint: Path) -> None:
    Path("noaudio.txt").write_text("no audio")
    refused(checkpoint, "noaudio.txt")
    with pytest.raises(SystemExit):
        combine.main(["absent.ckpt", "--output", "new/folder/bag.ckpt"])
    assert [path.name for path in Path().iterdir()] == ["noaudio.txt"]


@pytest.mark.usefixtures("here")
def test_combine_checks_its_output_before_loading(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("out").touch()
    with pytest.raises(SystemExit):
        combine.main(["absent.ckpt", "--output", "out/bag.ckpt"])
    assert capsys.readouterr().err.startswith("error: out: is not writable (")
