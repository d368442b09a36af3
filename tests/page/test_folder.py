"""The temporary folder of a server."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stemsplit.page import folder


@pytest.fixture(autouse=True)
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(folder, "private_temporary_folder", lambda: tmp_path)
    return tmp_path


def test_folder_is_removed_with_its_content(parent: Path) -> None:
    with folder.temporary_folder() as mine:
        assert mine.parent == parent
        assert mine.stat().st_mode & 0o077 == 0  # other users cannot read songs
        (mine / "song").write_bytes(b"song")
    assert list(parent.iterdir()) == []


def test_folder_of_a_killed_server_is_removed(parent: Path) -> None:
    code = (
        "import time; from pathlib import Path; from stemsplit.page import folder\n"
        f"folder.private_temporary_folder = lambda: Path({str(parent)!r})\n"
        "with folder.temporary_folder() as mine:\n"
        "    (mine / 'song').write_bytes(b'song')\n"
        "    print(mine, flush=True)\n"
        "    time.sleep(60)\n"
    )
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    left = Path(server.stdout.readline().strip())
    with folder.temporary_folder():
        assert (left / "song").is_file()  # that server still runs
    server.send_signal(signal.SIGKILL)
    server.communicate()
    with folder.temporary_folder() as mine:
        assert list(parent.iterdir()) == [mine]


def test_folders_of_others_stay(parent: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / folder.LOCK).touch()
    (parent / f"{folder.PREFIX}link").symlink_to(elsewhere)
    (parent / "other").mkdir()
    with folder.temporary_folder():
        pass
    assert (elsewhere / folder.LOCK).is_file()
    assert sorted(path.name for path in parent.iterdir()) == ["other", f"{folder.PREFIX}link"]
