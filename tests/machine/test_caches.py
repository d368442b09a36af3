"""Caches are in a temporary folder if, and only if, the user has no writable home."""

import getpass
import os
import pwd
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest

from stemsplit.machine.caches import FOLDERS, cache_folder, use_temporary_caches_without_home

NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A user with a name and a home; no cache variables are set."""
    for name in (*NAMES, *FOLDERS, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    os.environ |= {"USER": "ada", "HOME": str(tmp_path)}
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return monkeypatch


def homeless(tmp_path: Path) -> Path:
    """Set the home to a file, in which not even root can create files."""
    home = tmp_path / "file"
    home.touch()
    os.environ["HOME"] = str(home)
    return home


def test_writable_home_changes_nothing(machine: pytest.MonkeyPatch) -> None:
    before = dict(os.environ)
    use_temporary_caches_without_home()
    assert os.environ == before


def test_without_home_all_caches_are_in_a_private_folder(
    machine: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    homeless(tmp_path)
    use_temporary_caches_without_home()
    folder = tmp_path / "tmp" / "stemsplit-ada"
    for name in (*FOLDERS, "XDG_CACHE_HOME"):
        assert Path(os.environ[name]).is_relative_to(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    first = dict(os.environ)
    use_temporary_caches_without_home()
    assert os.environ == first


def test_cache_variables_that_are_set_are_kept(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    homeless(tmp_path)
    os.environ |= {"STEMSPLIT_CACHE": "/corpora", "MPLCONFIGDIR": ""}
    use_temporary_caches_without_home()
    assert os.environ["STEMSPLIT_CACHE"] == "/corpora"
    assert os.environ["MPLCONFIGDIR"].startswith(str(tmp_path / "tmp"))


def test_folder_writable_by_others_is_not_used(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    homeless(tmp_path)
    others = tmp_path / "tmp" / "stemsplit-ada"
    others.mkdir()
    others.chmod(0o777)
    use_temporary_caches_without_home()
    cache = Path(os.environ["STEMSPLIT_CACHE"])
    assert not cache.is_relative_to(others)
    assert cache.is_relative_to(tmp_path / "tmp")


def test_user_without_name_is_named_by_id(machine: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def nobody(uid: int) -> Any:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    machine.setattr(pwd, "getpwuid", nobody)
    del os.environ["USER"], os.environ["HOME"]
    use_temporary_caches_without_home()
    assert getpass.getuser() == str(os.getuid())
    assert Path(os.environ["STEMSPLIT_CACHE"]).is_relative_to(tmp_path / "tmp")


def test_home_of_an_unknown_user_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEMSPLIT_CACHE", "~no-such-user/cache")
    assert cache_folder() == Path("~no-such-user/cache")
