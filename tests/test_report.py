"""``python -m stemsplit.report``: its command line, and where it writes the report."""

import errno
from pathlib import Path

import pytest

from stemsplit.errors import InputError
from stemsplit.report import asks_for_ranking, main, page
from stemsplit.reporting import page as page_module
from stemsplit.reporting.run_records import read_run


@pytest.fixture
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_run(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("name: mlp\n")
    return folder


def write_sweep(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "study.journal").touch()
    return folder


def test_run_with_name_ranking_is_reported(
    working_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(working_folder / "ranking")
    for name in ("ranking", "./ranking"):
        main([name])
        assert capsys.readouterr().out == "ranking/report.html\n"
    write_run(working_folder / "other")
    main(["ranking", "other"])
    assert "2 training runs: ranking, other" in (working_folder / "report.html").read_text()


def test_ranking_is_a_command_next_to_run_with_name_ranking(working_folder: Path) -> None:
    assert asks_for_ranking(["ranking", "sweep"])
    assert asks_for_ranking(["ranking", "--help"])
    assert not asks_for_ranking(["./ranking"])
    write_run(working_folder / "ranking")
    write_sweep(working_folder / "sweep")
    assert asks_for_ranking(["ranking", "sweep", "--trials", "3"])
    assert not asks_for_ranking(["ranking"])


def test_sweep_with_name_ranking_is_a_folder(working_folder: Path) -> None:
    write_sweep(working_folder / "ranking")
    assert not asks_for_ranking(["ranking"])
    assert asks_for_ranking(["ranking", "ranking"])


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_read_only_run_is_reported_to_another_file(
    code: int, working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(working_folder / "run")
    real = page_module.write

    def write(path: Path, text: str) -> None:
        if path.parent == run:
            raise OSError(code, "not writable", str(path))
        real(path, text)

    monkeypatch.setattr(page_module, "write", write)
    with pytest.raises(
        InputError, match=r"report\.html: not writable; choose another file with --output"
    ):
        page([run])
    assert page([run], working_folder / "elsewhere.html").is_file()


def test_single_target_is_read_as_one_name(working_folder: Path) -> None:
    run = write_run(working_folder / "run")
    (run / "config.yaml").write_text("targets: vocals\n")
    assert read_run(run).targets == ["vocals"]


def test_run_with_non_utf8_name_is_reported(working_folder: Path) -> None:
    write_run(working_folder / "caf\udce9")
    assert r"caf\udce9" in page([Path("caf\udce9")]).read_text(encoding="utf-8")
