"""The wheel contains everything that the commands need outside a checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*build, str(CHECKOUT)], check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("train", ["model=open_unmix", "data=musdb18", "--cfg", "job"]),
        ("evaluate", ["checkpoint=x", "--cfg", "job"]),
        ("separate", ["--help"]),
        ("models", []),
    ],
)
def test_commands_start_outside_the_checkout(
    installed: Path, tmp_path: Path, module: str, arguments: list[str]
) -> None:
    code = (
        "import runpy, stemsplit, sys;"
        f"assert stemsplit.__file__.startswith({str(installed)!r}), stemsplit.__file__;"
        f"sys.argv = ['stemsplit', *{arguments!r}];"
        f"runpy.run_module('stemsplit.{module}', run_name='__main__')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert any(text in ended.stdout for text in ("seed: 0", "usage", "umxhq"))


def test_wheel_contains_conf(installed: Path) -> None:
    in_wheel = {
        str(path.relative_to(installed / "stemsplit")) for path in installed.rglob("*.yaml")
    }
    in_checkout = {str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "conf").rglob("*.yaml")}
    assert in_wheel == in_checkout


def test_wheel_contains_the_page(installed: Path) -> None:
    static = Path("stemsplit/page/static")
    in_wheel = {path.name: path.read_bytes() for path in (installed / static).iterdir()}
    in_checkout = {path.name: path.read_bytes() for path in (CHECKOUT / static).iterdir()}
    assert {"index.html", "main.js", "page.css"} <= set(in_wheel)
    assert in_wheel == in_checkout


def test_separate_imports_no_training_packages(installed: Path, tmp_path: Path) -> None:
    code = (
        "import sys, stemsplit.separate;"
        "heavy = {'lightning', 'hydra', 'omegaconf', 'wandb', 'musdb', 'museval'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
