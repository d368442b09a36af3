"""``stemsplit export``: bundles and their facts, ONNX models, verification."""

import json
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from weights_server import published

import stemsplit.separation
from stemsplit import combine, export
from stemsplit.reporting.bundle_summary import summary
from stemsplit.separation import exporting
from stemsplit.separation.checkpoint import build, save
from stemsplit.separation.formats import bundle
from stemsplit.separation.published import catalogue
from stemsplit.separation.published.download import paths_of

RATE = 8000
FRONT_END = {"sample_rate": RATE, "window": 256, "hop": 64, "mel_bands": 16, "mfccs": 4}
MLP = {"class": "stemsplit.models.mlp.Mlp", "hidden": 4}
SCORE = {"median": 5.0, "low": 4.0, "high": 6.0, "songs": 2, "frames": 9}
PROTOCOL = {"tag": "musdb18 valid, four stems"}


def checkpoint(path: Path, *targets: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    save(build(FRONT_END, MLP, targets, "rest", channels=2), path)
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a trained and scored run."""
    run = tmp_path / "12-00-00-mlp"
    checkpoint(run / "best.ckpt", "vocals")
    checkpoint(run / "last.ckpt", "vocals")
    (run / "config.yaml").write_text("name: mlp\n")
    scores = {name: {"vocals": {"SDR": SCORE}} for name in ("mixture", "mlp", "IRM")}
    results: dict[str, dict[str, Any]] = {
        "result.json": {
            "model": "mlp",
            "seed": 3,
            "steps": 500,
            "commit": "abc",
            "trained_on": {"fingerprint": "0123456789", "songs": 86},
            "test_scored": {"musdb18": 2, "/home/somebody/songs": 1},
        },
        "test/result.json": {"model": "mlp"},
        "evaluations/other/result.json": {
            "checkpoints": {"mlp": "anywhere/best.ckpt"},
            "fingerprint": "abcdef",
        },
        "evaluations/last/result.json": {"checkpoints": {"mlp": f"{run}/last.ckpt"}},
    }
    for name, facts in results.items():
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        protocol = {"tag": f"protocol of {name}"}
        (run / name).write_text(json.dumps({**facts, "scores": scores, "protocol": protocol}))
    return run


def exported(*words: str | Path) -> dict[str, Any]:
    """Run the command with ``--output``, and return the document of the bundle."""
    output = Path(words[0]).parent / "exported.safetensors"
    export.main([*map(str, words), "--output", str(output)])
    return bundle.read(output).document


def error_of(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        export.main([str(word) for word in words])
    assert ended.value.code == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def test_bundle_of_a_run_holds_its_training_and_scores(run: Path) -> None:
    document = exported(run, "--licence", "CC-BY-4.0", "--note", 'a "note"\n')
    assert (document["licence"], document["note"]) == ("CC-BY-4.0", 'a "note"\n')
    assert set(document["versions"]) == {"stemsplit", "torch", "torchaudio"}
    assert document["separator"] == stemsplit.load(run).description
    [source] = document["sources"]
    assert (source["file"], source["run"]) == ("best.ckpt", "12-00-00-mlp")
    assert (source["seed"], source["steps"], source["commit"]) == (3, 500, "abc")
    assert source["trained_on"] == {"fingerprint": "0123456789", "songs": 86}
    assert [result["protocol"]["tag"] for result in source["results"]] == [
        "protocol of result.json",
        "protocol of test/result.json",
        "protocol of evaluations/other/result.json",
    ]
    for result in source["results"]:
        expected = {"vocals": {"SDR": SCORE}}
        assert result["scores"] == {"mixture": expected, "mlp": expected}
    assert source["results"][2]["fingerprint"] == "abcdef"
    # No path of this machine is published.
    assert source["test_scored"] == {"musdb18": 2, "songs": 1}
    assert str(run.parent) not in json.dumps(document)


def test_last_checkpoint_has_no_scores_of_the_best(run: Path) -> None:
    [source] = exported(run / "last.ckpt")["sources"]
    tags = [result["protocol"]["tag"] for result in source["results"]]
    assert tags == ["protocol of evaluations/last/result.json"]
    assert source["seed"] == 3


def test_checkpoint_outside_a_run_has_only_its_name(tmp_path: Path) -> None:
    document = exported(checkpoint(tmp_path / "a.ckpt", "vocals"))
    assert document["sources"] == [{"file": "a.ckpt"}]
    assert document["licence"] is None


def test_model_that_this_machine_does_not_list_has_no_known_licence(tmp_path: Path) -> None:
    separator = stemsplit.load(checkpoint(tmp_path / "a.ckpt", "vocals"))
    save(separator, tmp_path / "b.ckpt", published=["elsewhere"])
    assert exported(tmp_path / "b.ckpt")["licence"] is None
    assert exported(tmp_path / "b.ckpt", "--licence", "MIT")["licence"] == "MIT"


def test_several_sources_are_combined(run: Path, tmp_path: Path) -> None:
    drums = checkpoint(tmp_path / "drums.ckpt", "drums")
    document = exported(run, drums)
    assert document["separator"]["targets"] == ["vocals", "drums"]
    assert [source["file"] for source in document["sources"]] == ["best.ckpt", "drums.ckpt"]
    combine.main([str(run), str(drums), "--output", f"{tmp_path}/both.ckpt"])
    both = stemsplit.load(tmp_path / "both.ckpt")
    assert document["separator"] == both.description


def test_facts_of_a_bundle_are_passed_on(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    export.main([str(run), "--output", str(first), "--licence", "MIT"])
    document = exported(first)
    assert (document["licence"], document["sources"]) == (
        "MIT",
        bundle.read(first).document["sources"],
    )
    export.main([str(checkpoint(tmp_path / "d.ckpt", "drums")), "--output", str(second)])
    line = error_of(capsys, first, second, "--output", tmp_path / "c")
    assert "different licences (MIT, none); set --licence" in line
    export.main([str(first), str(second), "--output", f"{tmp_path}/c", "--licence", "CC0"])
    assert bundle.read(tmp_path / "c").document["licence"] == "CC0"


@pytest.mark.filterwarnings("ignore:Empty filters")
def test_published_model_passes_on_its_licence_and_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with published(tmp_path, monkeypatch):
        export.main(["umxhq", "--output", "a.safetensors"])
        for document in (exported("./a.safetensors"), bundle.read(Path("a.safetensors")).document):
            assert (document["licence"], document["published"]) == ("MIT", ["umxhq"])
            assert document["sources"][0]["file"] == "umxhq"
        assert stemsplit.load("a.safetensors").stems == stemsplit.load("umxhq").stems


def test_bundle_and_onnx_model_can_be_written_at_once(run: Path, tmp_path: Path) -> None:
    words = [str(run), "--output", f"{tmp_path}/new/a", "--onnx", f"{tmp_path}/new/a.onnx"]
    export.main([*words, "--frames", "5", "--licence", "MIT"])
    [entry] = onnx.load(tmp_path / "new/a.onnx").metadata_props
    assert json.loads(entry.value)["licence"] == "MIT"
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"a", "a.onnx"}


def test_verify_prints_checks_and_content(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exported(run, "--licence", "MIT", "--note", "a\x1b[2Jb")
    path = run.parent / "exported.safetensors"
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        export.main(["--verify", str(path)])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" (")[0] for line in lines[:3]] == [
        "whole: yes",
        "loads: yes",
        "same output: yes",
    ]
    assert lines[3:] == [
        "stems: vocals, rest; 8000 Hz, channels: 2",
        "network: stemsplit.models.mlp.Mlp",
        "licence: MIT",
        "note: a�[2Jb",
        "source: 12-00-00-mlp, best.ckpt, trained on 86 songs (fingerprint 01234567), steps 500, "
        "seed 3, commit abc",
        "median SDR: vocals 5.00 dB (protocol of result.json)",
        "median SDR: vocals 5.00 dB (protocol of test/result.json)",
        "median SDR: vocals 5.00 dB (protocol of evaluations/other/result.json)",
        lines[-1],
    ]
    assert lines[-1].startswith("written with: stemsplit ")


def test_verify_ends_with_code_1_for_a_damaged_bundle(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = exported(run)
    path = run.parent / "exported.safetensors"
    capsys.readouterr()
    for passes in (True, False):
        with pytest.raises(SystemExit) as ended:
            export.main(["--verify", str(path), "--json"])
        assert ended.value.code == (0 if passes else 1)
        result = json.loads(capsys.readouterr().out)
        assert result["passed"] == passes
        assert result["bundle"] == (document if passes else None)
        assert [check["passed"] for check in result["checks"]] == (
            3 * [True] if passes else [False]
        )
        path.write_bytes(path.read_bytes()[:-1])


def test_errors_are_one_line_and_keep_existing_files(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    kept.write_text("kept")
    hdemucs = {"class": "stemsplit.models.hdemucs.HybridDemucs", "features": 4, "depth": 2}
    front_end = {**FRONT_END, "window": 1024, "hop": 256}
    waveforms = build(front_end, hdemucs, ["vocals"], "rest", channels=2, wiener_iterations=0)
    save(waveforms, tmp_path / "hdemucs.ckpt")
    cases: list[tuple[list[Any], str]] = [
        ([tmp_path / "absent", "--output", kept], "absent"),
        ([kept, "--output", tmp_path / "new"], "not a checkpoint"),
        ([run, "--onnx", kept, "--frames", 99999999999], "choose up to 450000 frames, 3600 s"),
        ([run, run, "--output", kept], "both estimate 'vocals'"),
        ([run, "--output", tmp_path], "is a folder"),
        ([run, "--output", kept / "a"], "kept"),
        ([tmp_path / "hdemucs.ckpt", "--onnx", kept], "write a bundle with --output instead"),
        (["--verify", tmp_path / "absent"], "absent: No such file"),
    ]
    before = set(tmp_path.rglob("*"))
    for words, message in cases:
        assert message in error_of(capsys, *words)
    (run / "result.json").write_text("{")
    assert "result.json: is damaged" in error_of(capsys, run, "--output", kept)
    assert kept.read_text() == "kept"
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("onnx_path", ["a", "new/../a", "link/a", "same"])
def test_one_file_for_both_outputs_is_refused(
    run: Path, onnx_path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run.parent
    (folder / "link").symlink_to(folder)
    (folder / "same").symlink_to(folder / "a")
    before = set(folder.rglob("*"))
    line = error_of(capsys, run, "--output", folder / "a", "--onnx", folder / onnx_path)
    assert line.endswith("are the same file; rename one")
    assert set(folder.rglob("*")) == before


@pytest.mark.parametrize("folder", ["a", "link/a", "new/../a"])
@pytest.mark.parametrize("options", [("--output", "--onnx"), ("--onnx", "--output")])
def test_output_in_the_other_output_is_refused(
    run: Path, folder: str, options: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    (run.parent / "link").symlink_to(run.parent)
    before = set(run.parent.rglob("*"))
    inner, outer = options
    path = run.parent / "a/b"
    line = error_of(capsys, run, inner, path, outer, run.parent / folder)
    assert f"is a file, but {inner} {path} needs a folder there; rename one" in line
    assert set(run.parent.rglob("*")) == before


def test_folder_as_second_output_is_refused_before_the_first_is_written(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run.parent / "a"
    line = error_of(capsys, run, "--output", path, "--onnx", run.parent)
    assert f"--onnx {run.parent}: is a folder; name a file in it" in line
    assert not path.exists()


@pytest.mark.parametrize("option", ["--output", "--onnx"])
@pytest.mark.parametrize("source", ["12-00-00-mlp", "12-00-00-mlp/best.ckpt", "link", "hard"])
def test_output_that_is_the_source_is_refused(
    run: Path, source: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    best = run / "best.ckpt"
    (run.parent / "link").symlink_to(run)
    (run.parent / "hard").hardlink_to(best)
    content = best.read_bytes()
    line = error_of(capsys, run.parent / source, option, best)
    assert f"{option} {best}: would replace the source {run.parent / source}" in line
    assert best.read_bytes() == content
    with pytest.raises(SystemExit):
        combine.main([str(run.parent / source), "--output", str(best)])
    assert "would replace the source" in capsys.readouterr().err
    assert best.read_bytes() == content


def test_output_among_the_published_weights_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with published(tmp_path, monkeypatch):
        [path, *_] = paths_of(catalogue.model("umxhq"))
        assert "would replace the source umxhq" in error_of(capsys, "umxhq", "--output", path)
        assert not path.exists()  # nothing is downloaded


def test_missing_extra_is_named(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("onnx_network", "onnx_tracing"):
        monkeypatch.delitem(sys.modules, f"{exporting.__name__}.{module}", raising=False)
        monkeypatch.delattr(exporting, module, raising=False)
    monkeypatch.setitem(sys.modules, "onnx", None)
    line = error_of(capsys, run, "--onnx", run.parent / "a.onnx")
    assert "onnx is not installed; run pip install --editable '.[onnx]'" in line
    assert not (run.parent / "a.onnx").exists()


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["RUN"],
        ["RUN", "--output", "a", "--frames", "3"],
        ["RUN", "--onnx", "a", "--frames", "0"],
        ["RUN", "--onnx", "a", "--frames", "9" * 5000],
        ["RUN", "--verify", "a"],
    ],
)
def test_unsuitable_options_are_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        export.main(words)
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.splitlines()[-1]) < 120


def test_summary_of_a_foreign_document_is_one_line() -> None:
    assert summary({"separator": {"targets": 3}}) == [
        "content: not in the format that `stemsplit export` writes"
    ]
