"""``python -m stemsplit.report``: which words are folders, and where a page is written."""

import errno
from pathlib import Path

import pytest

from stemsplit.errors import InputError
from stemsplit.report import asks_for_ranking, main, page
from stemsplit.reporting import page as written
from stemsplit.reporting.run_records import read_run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def a_run(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("name: mlp\n")
    return folder


def a_sweep(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "study.journal").touch()
    return folder


def test_a_run_called_ranking_is_reported(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_run(here / "ranking")
    for name in ("ranking", "./ranking"):
        main([name])
        assert capsys.readouterr().out == "ranking/report.html\n"
    a_run(here / "other")
    main(["ranking", "other"])
    assert "2 trainings: ranking, other" in (here / "report.html").read_text()


def test_a_sweep_is_ranked_beside_a_run_called_ranking(here: Path) -> None:
    assert asks_for_ranking(["ranking", "sweep"])
    assert asks_for_ranking(["ranking", "--help"])
    assert not asks_for_ranking(["./ranking"])
    a_run(here / "ranking")
    a_sweep(here / "sweep")
    assert asks_for_ranking(["ranking", "sweep", "--trials", "3"])
    assert not asks_for_ranking(["ranking"])


def test_a_sweep_called_ranking_is_a_folder(here: Path) -> None:
    a_sweep(here / "ranking")
    assert not asks_for_ranking(["ranking"])
    assert asks_for_ranking(["ranking", "ranking"])


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_run_that_may_only_be_read_is_reported_elsewhere(
    number: int, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(here / "run")
    real = written.write

    def write(path: Path, text: str) -> None:
        if path.parent == run:
            raise OSError(number, "not writable", str(path))
        real(path, text)

    monkeypatch.setattr(written, "write", write)
    with pytest.raises(InputError, match=r"report\.html: not writable; say --output FILE"):
        page([run])
    assert page([run], here / "here.html").is_file()


def test_one_target_is_a_name_and_not_its_letters(here: Path) -> None:
    run = a_run(here / "run")
    (run / "config.yaml").write_text("targets: vocals\n")
    assert read_run(run).targets == ["vocals"]


def test_a_run_whose_name_is_no_utf8_is_reported(here: Path) -> None:
    a_run(here / "caf\udce9")
    assert r"caf\udce9" in page([Path("caf\udce9")]).read_text(encoding="utf-8")
