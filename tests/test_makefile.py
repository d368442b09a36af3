"""`make setup` and `make browser` with fake versions of the programs that they call."""

import os
import pty
import shutil
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
PROGRAMS = (
    "make",
    "sh",
    "bash",
    "env",
    "rm",
    "touch",
    "cp",
    "mkdir",
    "cat",
    "sed",
    "tail",
    "dirname",
)
pytestmark = pytest.mark.skipif(
    shutil.which("make") is None or not (CHECKOUT / "Makefile").is_file(),
    reason="needs make and a checkout",
)
# A fake python that logs its arguments, and copies itself for `-m venv`. It fails if its arguments
# start with a pattern in the file `fails`.
PYTHON = """#!/bin/sh
echo "$@" >> {log}
case "$*" in
    *"config list"*) echo "global.index-url='file:///packages'";;
    "-m venv"*) mkdir -p $3/bin; cp "$0" $3/bin/python;;
esac
for word in $(cat {fails}); do
    case "$*" in $word*) exit 1;; esac
done
[ "$2" = uv ] && echo "index $UV_DEFAULT_INDEX" >> {log}
exit 0
"""


class Place:
    """A copy of the build files of the checkout, and a folder with fake programs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.programs, self.log = folder, folder / "programs", folder / "log"
        self.programs.mkdir()
        (folder / ".ci").mkdir()
        for name in ("Makefile", ".ci/install", "pyproject.toml", "constraints.txt"):
            shutil.copy(CHECKOUT / name, folder / name)
        for name in PROGRAMS:
            (self.programs / name).symlink_to(shutil.which(name) or pytest.skip(f"no {name}"))
        self.fails = folder / "fails"
        self.fails.touch()
        self.log.touch()

    def program(self, name: str, script: str = "") -> None:
        path = self.programs / name
        path.write_text(f'#!/bin/sh\necho "{name} $@" >> {self.log}\n{script}\n')
        path.chmod(0o755)

    def python(self) -> None:
        path = self.programs / "python3"
        path.write_text(PYTHON.format(log=self.log, fails=self.fails))
        path.chmod(0o755)

    def make(self, target: str, **options: object) -> subprocess.CompletedProcess[str]:
        inherited = {
            key: value for key, value in os.environ.items() if key[:3] not in ("UV_", "MAK")
        }
        environment = inherited | {"PATH": str(self.programs)}
        options = {"stdin": subprocess.DEVNULL} | options
        return subprocess.run(
            ["make", target], cwd=self.folder, env=environment, capture_output=True, text=True,
            **options,
        )  # fmt: skip

    def logged(self) -> str:
        return self.log.read_text()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_setup_installs_once_with_uv_from_the_index_of_pip(place: Place) -> None:
    place.program("ffmpeg")
    place.python()
    made = place.make("setup")
    assert made.returncode == 0, made.stderr
    assert "-m uv pip install" in place.logged()
    assert "index file:///packages" in place.logged()
    assert "install --quiet --constraint constraints.txt --editable" not in place.logged()
    before = place.logged()
    assert place.make("setup").returncode == 0
    assert place.logged() == before


def test_setup_falls_back_to_pip(place: Place) -> None:
    place.program("ffmpeg")
    place.python()
    place.fails.write_text("-m?uv")
    made = place.make("setup")
    assert made.returncode == 0, made.stderr
    assert "uv could not install the packages" in made.stdout
    assert "install --quiet --constraint constraints.txt --editable" in place.logged()
    assert (place.folder / ".venv/.ready").is_file()


def test_failed_setup_is_repeated(place: Place) -> None:
    place.program("ffmpeg")
    place.python()
    assert place.make("setup").returncode == 0
    # Make the marker older than the files it depends on.
    os.utime(place.folder / ".venv/.ready", (0, 0))
    place.fails.write_text("-m?pip*install")
    assert place.make("setup").returncode != 0
    assert not (place.folder / ".venv/.ready").exists()
    place.fails.write_text("")
    assert place.make("setup").returncode == 0
    assert (place.folder / ".venv/.ready").is_file()


@pytest.mark.parametrize(("target", "package"), [("setup", "ffmpeg"), ("browser", "chromium")])
def test_root_needs_no_sudo(place: Place, target: str, package: str) -> None:
    place.python()
    place.program("id", "echo 0")
    place.program("apt-get")
    place.program("sudo")
    made = place.make(target)
    assert made.returncode == 0, made.stderr
    assert f"apt-get install -y -qq {package}" in place.logged()
    assert "sudo" not in place.logged()


@pytest.mark.parametrize(("target", "package"), [("setup", "ffmpeg"), ("browser", "chromium")])
@pytest.mark.parametrize("has_sudo", [True, False])
def test_sudo_is_not_called_without_a_terminal(
    place: Place, target: str, package: str, has_sudo: bool
) -> None:
    place.python()
    place.program("id", "echo 1000")
    place.program("apt-get")
    if has_sudo:
        place.program("sudo")
    made = place.make(target)
    assert made.returncode != 0
    assert f"run sudo apt-get install {package}, then run make {target} again" in made.stdout
    assert "sudo" not in place.logged()
    assert "apt-get" not in place.logged()


@pytest.mark.parametrize(("answer", "calls"), [("y", True), ("", False), ("n", False)])
def test_sudo_needs_confirmation_in_a_terminal(place: Place, answer: str, calls: bool) -> None:
    place.python()
    place.program("id", "echo 1000")
    place.program("apt-get")
    place.program("sudo", 'exec "$@"')
    keyboard, terminal = pty.openpty()
    os.write(keyboard, f"{answer}\n".encode())
    made = place.make("setup", stdin=terminal)
    os.close(keyboard)
    os.close(terminal)
    assert "Install it with sudo apt-get install ffmpeg? [y/N]" in made.stdout
    assert (made.returncode == 0) == calls, made.stderr
    assert ("sudo sh -c" in place.logged()) == calls
    assert ("apt-get install -y -qq ffmpeg" in place.logged()) == calls
