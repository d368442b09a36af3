"""``stemsplit models``: list, download and remove published models."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from weights_server import HDEMUCS, TARGETS, Server, published, write_catalogue

from stemsplit.models import __main__ as command


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with published(tmp_path, monkeypatch) as server:
        yield server


def test_list_says_what_a_model_is(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    command.main(["list"])
    lines = capsys.readouterr().out
    command.main([])
    assert capsys.readouterr().out == lines
    own = lines[lines.index("hdemucs_musdb_plus") :]
    for text in ("drums, bass, other, vocals", "kB", "44100", "not stated", "downloaded  no",
                 "MUSDB18-HQ, all songs; saw MUSDB18's test songs"):  # fmt: skip
        assert text in own
    assert "vocals 6.32, drums 5.73, bass 5.23, other 4.02" in lines  # umx, which is built in


def test_json_has_everything(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.main(["pull", "hdemucs_musdb_plus"])
    capsys.readouterr()
    command.main(["list", "--json"])
    listed = capsys.readouterr().out
    command.main(["--json"])
    assert capsys.readouterr().out == listed
    models = {model["name"]: model for model in json.loads(listed)}
    assert models["hdemucs_musdb_plus"]["downloaded"] is True
    assert models["hdemucs_musdb_plus"]["saw_musdb18_test"] == "yes"
    assert models["hdemucs_musdb_plus"]["size"] == len(server.files[HDEMUCS])
    assert models["umxhq"]["downloaded"] is False
    assert models["umxhq"]["folder"] == str(tmp_path / "cache/models/umxhq")
    assert models["umx"]["scores_of"]


def test_pull_path_and_remove(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "cache/models/umxhq"
    paths = "".join(f"{folder / name}\n" for name in server.files if name.endswith(".pth"))
    with pytest.raises(SystemExit) as ended:
        command.main(["path", "umxhq"])
    assert ended.value.code == 1
    output = capsys.readouterr()
    assert output.out == paths
    assert "error: umxhq: not downloaded; run `stemsplit models pull umxhq`" in output.err
    command.main(["pull", "umxhq", "umxhq"])
    output = capsys.readouterr()
    assert output.out == paths
    assert output.err.count("downloading") == 1
    command.main(["path", "umxhq"])
    assert capsys.readouterr().out == paths
    command.main(["remove", "umxhq"])
    assert capsys.readouterr().out == f"removed {folder}\n"
    assert not folder.exists()
    with pytest.raises(SystemExit):
        command.main(["remove", "umxhq"])
    assert "umxhq: not downloaded" in capsys.readouterr().err
    assert len(server.requests) == len(TARGETS)


def test_only_downloaded_files_are_removed(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "cache/models/umxhq"
    folder.mkdir(parents=True)
    (folder / "mine.txt").write_text("own")
    with pytest.raises(SystemExit):
        command.main(["remove", "umxhq"])
    assert "umxhq: not downloaded; " in capsys.readouterr().err
    command.main(["pull", "umxhq"])
    vocals = next(folder.glob("vocals*"))
    vocals.rename(f"{vocals}.part")
    (folder / ".lock").touch()
    capsys.readouterr()
    command.main(["remove", "umxhq"])
    assert capsys.readouterr().out == f"removed the downloaded files in {folder}\n"
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_folder_without_files_is_removed(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "cache/models/umxhq"
    folder.mkdir(parents=True)
    (folder / ".lock").touch()
    command.main(["remove", "umxhq"])
    assert not folder.exists()


def test_linked_folder_stays(server: Server, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cache/models").mkdir(parents=True)
    (tmp_path / "cache/models/umxhq").symlink_to(tmp_path / "elsewhere")
    command.main(["pull", "umxhq"])
    command.main(["remove", "umxhq"])
    assert not list((tmp_path / "elsewhere").iterdir())


def test_texts_of_strangers_do_not_control_the_terminal(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = {"stems": ["vocals"], "files": [server.entry(HDEMUCS)], "title": "\x1b[31mA",
             "licence": "\x1b[31mB", "trained_on": "\x07\x1b[31mC"}  # fmt: skip
    write_catalogue(tmp_path / "models.toml", {"mine": entry})
    server.faults[HDEMUCS] = ["raw HTTP/1.1 403 \x1b[31mEVIL"]
    with pytest.raises(SystemExit):
        command.main(["pull", "mine"])
    server.faults[HDEMUCS] = 4 * ["raw \x00\x01garbage"]
    with pytest.raises(SystemExit):
        command.main(["pull", "mine"])
    command.main(["list"])
    command.main(["list", "--json"])
    output = capsys.readouterr()
    assert "(HTTP status 403 \\x1b[31mEVIL)" in output.err
    assert "\\x00\\x01garbage" in output.err
    assert "licence: \\x1b[31mB" in output.out + output.err
    for line in (output.out + output.err).splitlines():
        assert line.isprintable()


def test_unknown_name_is_a_one_line_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["pull", "umxqh"])
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: umxqh: unknown model; did you mean umxhq")


def test_command_imports_no_torch() -> None:
    code = (
        "import sys; from stemsplit.models.__main__ import main; main(['list']);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
