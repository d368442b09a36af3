"""The commands `separate` and `combine`: their songs, their output folders and their errors."""

import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from full_disk import no_file_larger_than
from tiny_separator import RATE, checkpoint_for, files_in, song_at

from stemsplit import combine, separate


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


def separate_songs(checkpoint: Path, *arguments: str) -> None:
    separate.main([*arguments, "--checkpoint", str(checkpoint), "--output", "out"])


def refused(checkpoint: Path, *arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        separate_songs(checkpoint, *arguments)
    assert ended.value.code == 1


def stems_of(*songs: str) -> list[str]:
    return sorted(f"{song}/{stem}.wav" for song in songs for stem in ("rest", "vocals"))


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
    Path("empty.wav").mkdir()
    songs = [song_at("a.wav"), "absent.wav", "bad one.wav", "empty.wav", song_at("z.wav")]
    refused(checkpoint, *songs)
    assert files_in("out") == stems_of("a", "z")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: absent.wav: does not exist"
    assert lines[1].startswith("error: empty.wav: holds no audio file")
    assert lines[2].startswith("error: bad one.wav: ")
    assert lines[3:] == [
        "error: 3 of 5 songs could not be separated: absent.wav, empty.wav, 'bad one.wav'"
    ]


@pytest.mark.usefixtures("here")
def test_single_failing_song_prints_one_line(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(checkpoint, "absent.wav")
    assert capsys.readouterr().err == "error: absent.wav: does not exist\n"


def nan_song() -> None:
    samples = np.zeros((RATE, 2), np.float32)
    samples[RATE // 2] = np.nan
    soundfile.write("bad.wav", samples, RATE, subtype="FLOAT")


def song_of_an_unknown_layout() -> None:
    soundfile.write("bad.wav", np.zeros((RATE, 12), np.float32), RATE, subtype="FLOAT")


BAD_SONGS: dict[str, Callable[[], object]] = {
    "empty file": lambda: Path("bad.wav").touch(),
    "text": lambda: Path("bad.wav").write_text("This is a text.\n" * 100),
    "header only": lambda: Path("bad.wav").write_bytes(b"RIFF\x24\0\0\0WAVEfmt "),
    "no samples": lambda: song_at("bad.wav", seconds=0),
    "half a header": lambda: Path("bad.wav").write_bytes(Path(song_at("a.wav")).read_bytes()[:30]),
    "not a number": nan_song,
    "unknown layout": song_of_an_unknown_layout,
    "broken link": lambda: Path("bad.wav").symlink_to("nowhere.wav"),
    "pipe": lambda: os.mkfifo("bad.wav"),
    "folder without audio": lambda: Path("bad.wav").mkdir(),
}


@pytest.mark.parametrize("kind", BAD_SONGS)
@pytest.mark.usefixtures("here")
def test_bad_song_is_one_line_and_the_others_go_on(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    BAD_SONGS[kind]()
    refused(checkpoint, "bad.wav", song_at("a.wav"))
    error, summary = capsys.readouterr().err.splitlines()
    assert re.match(r"error: bad\.wav: [^/]", error)
    assert summary == "error: 1 of 2 songs could not be separated: bad.wav"
    assert files_in("out") == stems_of("a")
    assert [path.name for path in Path("out").iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("seconds", "rate", "channels"),
    [(1 / RATE, RATE, 2), (0.3, 192_000, 2), (0.5, 11_025, 1), (0.5, RATE, 6), (2.3, 44_100, 2)],
    ids=["one sample", "192 kHz", "mono", "six channels", "44.1 kHz"],
)
@pytest.mark.usefixtures("here")
def test_stems_have_rate_and_length_of_an_unusual_song(
    checkpoint: Path, seconds: float, rate: int, channels: int
) -> None:
    separate_songs(checkpoint, song_at("a.wav", seconds, rate, channels))
    for stem in stems_of("a"):
        info = soundfile.info(f"out/{stem}")
        assert (info.samplerate, info.frames) == (rate, round(rate * seconds))
        assert info.channels == min(channels, 2)


NAMES = [
    "..",
    "a\nb",
    "'q\"",
    "[b]*?",
    "-x",
    "--json",
    "日本語 عربى",
    "x" * 251,
    "~",
    "$HOME",
    "{song}",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("here")
def test_any_name_of_a_song_is_accepted(checkpoint: Path, name: str) -> None:
    song = song_at(f"{name}.wav")
    separate_songs(checkpoint, song)
    folder = "song" if name == ".." else name
    assert sorted(files_in("out")) == stems_of(folder)


def foreign_class(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    content["separator"]["network"] = {"class": "subprocess.Popen", "args": ["touch", "ran"]}
    torch.save(content, path)


class Malicious:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, ("touch ran",)


BAD_CHECKPOINTS: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("weights"),
    "damaged": lambda path: path.write_bytes(path.read_bytes()[:1000]),
    "of another program": lambda path: torch.save({"state_dict": {"a": torch.ones(2)}}, path),
    "runs code": lambda path: path.write_bytes(pickle.dumps(Malicious())),
    "runs code, saved by torch": lambda path: torch.save({"a": Malicious()}, path),
    "names a foreign class": foreign_class,
}


@pytest.mark.parametrize("kind", BAD_CHECKPOINTS)
@pytest.mark.usefixtures("here")
def test_bad_checkpoint_is_one_line_and_runs_no_code(
    capsys: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
    tmp_path: Path,
    kind: str,
) -> None:
    path = checkpoint_for(tmp_path / "bad.ckpt", "vocals")
    BAD_CHECKPOINTS[kind](path)
    refused(path, song_at("a.wav"))
    assert not recwarn.list
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path}")
    assert files_in(".") == ["a.wav"]


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
    refused(checkpoint, song_at("a.wav"), song_at("other/a.wav"), song_at("b.wav"))
    assert files_in("out") == stems_of("a", "b")
    error, _ = capsys.readouterr().err.splitlines()
    assert (
        error == "error: other/a.wav: its stems would go to out/a, like those of a.wav; "
        "rename one song"
    )


@pytest.mark.usefixtures("here")
def test_songs_of_a_folder_keep_their_subfolders(checkpoint: Path) -> None:
    song_at("music/a.wav")
    song_at("music/album/a.wav")
    separate_songs(checkpoint, "music")
    assert files_in("out") == stems_of("a", "album/a")


@pytest.mark.usefixtures("here")
def test_stems_beside_the_songs_are_not_separated_again(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    song_at("out/a.wav")
    for _ in range(2):
        capsys.readouterr()
        separate_songs(checkpoint, "out")
        assert files_in("out") == sorted(["a.wav", *stems_of("a")])
    assert capsys.readouterr().err == (
        "2 files are stems of listed songs and skipped: out/a/rest.wav …\n"
    )


@pytest.mark.usefixtures("here")
def test_stem_never_replaces_the_song(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    song = Path(song_at("out/vocals.wav"))
    before = song.read_bytes()
    refused(checkpoint, str(song), "--name", "{stem}")
    assert "would replace the song" in capsys.readouterr().err
    assert song.read_bytes() == before


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


@pytest.mark.parametrize("form", ["wav", "flac", "mp3", "ogg", "m4a"])
@pytest.mark.usefixtures("here")
def test_full_disk_keeps_the_old_stems(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    separate_songs(checkpoint, song_at("a.wav"), "--format", form)
    before = {path: path.read_bytes() for path in Path("out").rglob(f"*.{form}")}
    song_at("a.wav", seconds=20)
    capsys.readouterr()
    with no_file_larger_than(1000):
        refused(checkpoint, "a.wav", "--format", form)
    [line] = capsys.readouterr().err.splitlines()
    assert re.fullmatch(rf"error: out/a/(vocals|rest)\.{form}: File too large", line)
    assert {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()} == before


@pytest.mark.skipif(os.name != "posix", reason="other systems have no SIGTERM")
@pytest.mark.parametrize(
    ("number", "jobs"), [(signal.SIGINT, "1"), (signal.SIGINT, "2"), (signal.SIGTERM, "2")]
)
def test_interrupted_command_leaves_whole_files_only(
    checkpoint: Path, here: Path, number: signal.Signals, jobs: str
) -> None:
    songs = [song_at(here / f"{name}.wav", seconds=300) for name in "ab"]
    slow = ["--shifts", "20", "--batch", "1", "--jobs", jobs]
    command = [sys.executable, "-m", "stemsplit.separate", *songs, "--checkpoint", str(checkpoint)]
    process = subprocess.Popen([*command, *slow], cwd=here, text=True, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not list(here.rglob("*.partial")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert "Traceback" not in errors
    if number == signal.SIGINT:
        assert process.returncode == 130, errors
        assert errors == "interrupted\n"
    else:
        assert process.returncode == 128 + number, errors
    assert files_in(here) == ["a.wav", "b.wav"]


@pytest.mark.usefixtures("here")
def test_folder_with_stems_of_another_separator_is_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    song = song_at("a.wav")
    separate_songs(checkpoint, song)
    refused(checkpoint_for(tmp_path / "drums.ckpt", "drums"), song)
    assert "out/a: holds vocals.wav, which this separator does not write" in capsys.readouterr().err
    assert files_in("out") == stems_of("a")
    separate_songs(checkpoint, song, "--stems", "rest")  # the same separator replaces its stems
    assert files_in("out") == stems_of("a")
    Path("out/a/._drums.wav").touch()  # macOS writes such files
    separate_songs(checkpoint, song)


@pytest.mark.usefixtures("here")
def test_failed_song_leaves_no_empty_folder(checkpoint: Path) -> None:
    sound = np.zeros((8000, 1), np.float32)
    sound[-1] = np.nan
    soundfile.write("nan.wav", sound, 8000, "FLOAT")
    refused(checkpoint, "nan.wav", "--name", "{stem}/{song}")
    assert not Path("out").exists()


@pytest.mark.usefixtures("here")
def test_song_may_be_in_the_folder_of_its_stems(checkpoint: Path) -> None:
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
@pytest.mark.parametrize("options", [(), ("--json",)])
@pytest.mark.usefixtures("here")
def test_song_name_may_be_invalid_utf_8(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, options: tuple[str, ...]
) -> None:
    song = song_at(os.fsdecode(b"caf\xe9.wav"))
    with open("printed", "w", encoding=encoding) as stream, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stream)
        separate_songs(checkpoint, song, *options)
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
