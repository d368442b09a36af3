"""Each option of the command `separate`."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tiny_separator import checkpoint_for, files_in, song_at

from stemsplit import separate
from stemsplit.separate import argument_parser
from stemsplit.separation import loading
from stemsplit.separation.chunks import inference
from stemsplit.separation.ensemble import Ensemble
from stemsplit.separation.separator import Separator


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint_for(tmp_path_factory.mktemp("checkpoint") / "voice.ckpt", "vocals")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory with a song."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    song_at("a.wav")


def run(checkpoint: Path, *options: str) -> None:
    separate.main(["a.wav", "--checkpoint", str(checkpoint), *options])


def error_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that a command prints when it fails."""
    with pytest.raises(SystemExit) as ended:
        separate.main(list(words))
    assert ended.value.code == 1
    [line] = capsys.readouterr().err.splitlines()
    return line


def stem(name: str = "vocals", form: str = "wav") -> np.ndarray:
    return soundfile.read(f"separated/a/{name}.{form}")[0]


def test_default_model_and_default_output(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources: list[Any] = []
    load = loading.load

    def record(source: Any, *arguments: Any) -> Separator | Ensemble:
        sources.extend(source)
        return load(checkpoint, *arguments)

    monkeypatch.setattr(loading, "load", record)
    separate.main(["a.wav"])
    assert sources == ["umxhq"]
    assert files_in("separated") == ["a/rest.wav", "a/vocals.wav"]


@pytest.mark.parametrize("options", [("--model", "--checkpoint"), ("--checkpoint", "--model")])
def test_several_models_give_the_stems_of_all(
    checkpoint: Path, tmp_path: Path, options: tuple[str, str]
) -> None:
    drums = checkpoint_for(tmp_path / "drums.ckpt", "drums")
    separate.main(["a.wav", options[0], str(checkpoint), options[1], str(drums)])
    assert files_in("separated") == ["a/drums.wav", "a/residual.wav", "a/vocals.wav"]


def test_weights_of_models(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = ["a.wav", "--checkpoint", str(checkpoint), "--checkpoint", str(checkpoint)]
    separate.main([*both, "--weights", "2,1"])
    separate.main(["a.wav", "--checkpoint", str(checkpoint), "--weights", "1"])
    assert files_in("separated") == ["a/rest.wav", "a/vocals.wav"]
    assert "give one weight for each model" in error_of(capsys, *both, "--weights", "2,1,1")


def test_stems_are_selected(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(checkpoint, "--stems", "rest")
    assert files_in("separated") == ["a/rest.wav"]
    line = error_of(capsys, "a.wav", "--checkpoint", str(checkpoint), "--stems", "vocals,piano")
    assert line.endswith("choose from vocals, rest")


def test_two_stems(checkpoint: Path, tmp_path: Path) -> None:
    four = checkpoint_for(tmp_path / "four.ckpt", "drums", "bass", "other", "vocals", residual=None)
    run(four, "--two-stems", "drums", "--bit-depth", "32f")
    assert files_in("separated") == ["a/drums.wav", "a/no_drums.wav"]
    np.testing.assert_allclose(
        stem("drums") + stem("no_drums"), soundfile.read("a.wav")[0], atol=1e-6
    )


@pytest.mark.parametrize("form", ["wav", "flac", "mp3", "ogg", "m4a"])
def test_format_is_the_suffix(checkpoint: Path, form: str) -> None:
    run(checkpoint, "--format", form)
    assert files_in("separated") == [f"a/rest.{form}", f"a/vocals.{form}"]


def test_stem_mp4(tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    four = checkpoint_for(tmp_path / "four.ckpt", "drums", "bass", "other", "vocals", residual=None)
    run(four, "--format", "stem.mp4")
    assert files_in("separated") == ["a.stem.mp4"]
    words = ["a.wav", "--checkpoint", str(checkpoint), "--format", "stem.mp4"]
    assert "but this separator estimates vocals, rest" in error_of(capsys, *words)


@pytest.mark.parametrize(
    ("depth", "subtype"), [("16", "PCM_16"), ("24", "PCM_24"), ("32f", "FLOAT")]
)
def test_bit_depth(checkpoint: Path, depth: str, subtype: str) -> None:
    run(checkpoint, "--bit-depth", depth)
    assert soundfile.info("separated/a/vocals.wav").subtype == subtype


@pytest.mark.parametrize("form", ["mp3", "ogg", "m4a"])
def test_bitrate_changes_the_size(checkpoint: Path, form: str) -> None:
    song_at("a.wav", 3.0, 44100)
    sizes = []
    for bitrate in ("64", "256"):
        run(checkpoint, "--format", form, "--bitrate", bitrate)
        sizes.append(Path(f"separated/a/rest.{form}").stat().st_size)
    assert sizes[1] > 1.5 * sizes[0]


@pytest.mark.parametrize(
    ("mode", "note"), [("report", "clipped to full scale: "), ("rescale", "are multiplied by ")]
)
def test_clip_says_what_it_does(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], mode: str, note: str
) -> None:
    song_at("a.wav", subtype="FLOAT", peak=3)
    run(checkpoint, "--clip", mode, "--bit-depth", "16")
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("a.wav: ")
    assert note in line


def test_name_is_a_template(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(checkpoint, "--name", "{model}/{song} ({stem})")
    assert files_in("separated") == ["voice/a (rest).wav", "voice/a (vocals).wav"]
    words = ["a.wav", "--checkpoint", str(checkpoint), "--name"]
    assert error_of(capsys, *words, "../{stem}").startswith("error: name '../{stem}': ")
    assert error_of(capsys, *words, "{artist}/{stem}").startswith("error: name '{artist}/{stem}': ")


def test_skip_existing(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(checkpoint)
    before = {path: path.stat().st_mtime_ns for path in Path("separated").rglob("*.wav")}
    song_at("b.wav")
    capsys.readouterr()
    run(checkpoint, "b.wav", "--skip-existing")
    assert "a.wav: skipped, all its stems exist" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(files_in("separated")) == 4
    Path("separated/a/rest.wav").unlink()
    run(checkpoint, "--skip-existing")
    assert Path("separated/a/rest.wav").is_file()


@pytest.mark.parametrize(
    ("options", "changes"),
    [(["--wiener", "0"], True), (["--chunk-seconds", "0.3"], True), (["--overlap", "0.2"], True),
     (["--shifts", "3"], True), (["--batch", "2"], False), (["--device", "cpu"], False),
     (["--jobs", "2"], False)],
)  # fmt: skip
def test_option_of_the_separation(checkpoint: Path, options: list[str], changes: bool) -> None:
    run(checkpoint, "--bit-depth", "32f")
    before = stem()
    run(checkpoint, "--bit-depth", "32f", *options)
    difference = np.abs(stem() - before).max()
    assert difference > 1e-4 if changes else difference < 1e-5


@pytest.mark.parametrize(("precision", "exact"), [("auto", False), ("float32", True)])
def test_precision(
    checkpoint: Path, precision: str, exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "cpu_is_fast_in_bfloat16", lambda: True)
    run(checkpoint, "--bit-depth", "32f", "--precision", precision)
    samples, rate = soundfile.read("a.wav", dtype="float32")
    expected = loading.load(checkpoint).separate(samples.T, rate)["vocals"].T
    assert (np.abs(stem() - expected).max() < 1e-6) == exact
    np.testing.assert_allclose(stem(), expected, rtol=0, atol=1e-2)


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--jobs", "0"], "jobs 0 must be 1 or more"), (["--shifts", "0"], "shifts 0"),
     (["--batch", "0"], "batch 0"), (["--overlap", "9"], "cannot overlap by 9.0 s"),
     (["--precision", "int4"], "precision 'int4': unknown"),
     (["--device", "nonsense"], "device nonsense: unknown"), (["--clip", "loud"], "clip 'loud'"),
     (["--format", "aiff"], "format 'aiff'"), (["--bitrate", "64"], "wav is lossless"),
     (["--format", "mp3", "--bitrate", "9"], "no bitrate of 9")],
)  # fmt: skip
def test_invalid_value_is_one_line(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    songs = ["a.wav", song_at("b.wav")]
    assert message in error_of(capsys, *songs, "--checkpoint", str(checkpoint), *options)
    assert files_in(".") == ["a.wav", "b.wav"]


def test_json_has_one_line_per_song(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    song_at("b.wav", 0.5)
    run(checkpoint, "b.wav", "--output", "out")
    capsys.readouterr()
    Path("out/a/rest.wav").unlink()
    with pytest.raises(SystemExit):
        run(checkpoint, "absent.wav", "b.wav", "--json", "--skip-existing", "--output", "out")
    output, errors = capsys.readouterr()
    failed, separated, skipped = map(json.loads, output.splitlines())
    names = ["seconds", "elapsed_seconds", "real_time_factor", "notes"]
    nothing = dict.fromkeys(["stems", *names, "error"])
    failure = {"song": "absent.wav", "status": "failed", "error": "absent.wav: does not exist"}
    assert failed == {**nothing, **failure}
    stems = {"vocals": "out/b/vocals.wav", "rest": "out/b/rest.wav"}
    assert skipped == {**nothing, "song": "b.wav", "status": "skipped", "stems": stems}
    assert list(separated) == list(failed) == list(skipped)
    assert separated["song"] == "a.wav"
    assert separated["seconds"] == 1.0
    assert separated["real_time_factor"] == pytest.approx(separated["elapsed_seconds"])
    assert list(separated["stems"]) == ["vocals", "rest"]
    assert "real-time factor" in errors
    assert "error: absent.wav: does not exist" in errors


def test_time_and_real_time_factor_are_printed(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    song_at("b.wav", 0.5)
    run(checkpoint, "b.wav")
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].startswith("1.0 s of audio in ")
    assert lines[-1].startswith("2 songs: 1.5 s of audio in ")
    assert "s, real-time factor " in lines[-1]


def options() -> Iterator[str]:
    for action in argument_parser()._actions:
        yield from (name for name in action.option_strings if name not in ("-h", "--help"))


def test_help_answers_quickly_and_explains_every_option() -> None:
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "stemsplit", "separate", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert not {"torch", "av", "numpy", "rich"} & imported
    assert all(option in ended.stdout for option in options())
    assert all(action.help for action in argument_parser()._actions)


@pytest.mark.parametrize("launcher", ["--part", "srun"])
def test_parts_are_disjoint_and_complete(
    checkpoint: Path,
    launcher: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in "abcd":
        song_at(f"music/{name}.wav", seconds=0.1)
    Path("music/x.wav").write_bytes(b"no song")
    command = ["absent.wav", "music", "--checkpoint", str(checkpoint)]
    for number, separated, failed in ((1, "ad", "absent.wav"), (2, "b", "x.wav"), (3, "c", None)):
        options = ["--output", f"out{number}"]
        if launcher == "srun":
            monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "3")
            monkeypatch.setenv("SLURM_PROCID", str(number - 1))
        else:
            options += ["--part", f"{number}/3"]
        with nullcontext() if failed is None else pytest.raises(SystemExit):
            separate.main([*command, *options])
        errors = capsys.readouterr().err
        assert [name for name in ("absent.wav", "x.wav") if name in errors] == (
            [] if failed is None else [failed]
        )
        stems = [f"{name}/{stem}.wav" for name in separated for stem in ("rest", "vocals")]
        assert files_in(f"out{number}") == stems


def test_empty_part_is_reported_without_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    song_at("b.wav")
    separate.main(["a.wav", "b.wav", "--checkpoint", "no-such-model", "--part", "3/3"])
    assert capsys.readouterr() == ("part 3/3 contains no songs (2 in all)\n", "")


def test_part_that_is_empty_without_stems_is_reported(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    song_at("a/vocals.wav")  # a stem of a.wav
    run(checkpoint, "a/vocals.wav", "--output", ".", "--part", "2/2")
    assert capsys.readouterr() == ("part 2/2 contains no songs (1 in all)\n", "")


@pytest.mark.parametrize("part", ["0/2", "3/2", "2", "1/x", "-1/2"])
def test_part_is_checked(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        separate.main(["a.wav", f"--part={part}"])
    assert ended.value.code == 2
    assert "write K/N, such as 2/4" in capsys.readouterr().err
