"""tuned=FILE reads a sweep's best.yaml, nested or, from an older version, flat."""

from pathlib import Path

import pytest

from stemsplit.command_line.tuned import tuned
from stemsplit.errors import InputError

NESTED = """\
# @package _global_
defaults:
- override /optimizer: adamw
- _self_
optimizer:
  lr: 0.004
name: '007'
"""
FLAT = "optimizer: adamw\n+optimizer.lr: 0.004\nname: '007'\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("text", [NESTED, FLAT])
def test_settings_come_before_those_of_the_command_line(text: str, folder: Path) -> None:
    (folder / "best.yaml").write_text(text)
    assert tuned(["-m", "tuned=best.yaml", "epochs=3"]) == [
        *("-m", "optimizer=adamw", "++optimizer.lr=0.004", "++name='007'"),
        *("epochs=3", "tuned='best.yaml'"),
    ]


def test_empty_defaults_list_is_ignored(folder: Path) -> None:
    (folder / "best.yaml").write_text("defaults:\noptimizer:\n  lr: 0.004\n")
    assert tuned(["tuned=best.yaml"])[0] == "++optimizer.lr=0.004"


def test_null_chooses_no_file() -> None:
    assert tuned(["tuned=null", "epochs=3"]) == ["tuned=null", "epochs=3"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("just text\n", "unknown setting 'just text'"),
        ("a b: 1\n", "unknown setting 'a b'"),
        ("nosuch: {setting: 3}\n", "unknown setting 'nosuch.setting'"),
        ("defaults: [override /nosuch: a]\n", "unknown setting 'nosuch'"),
        ("defaults: [mlp]\n", "unexpected entry 'mlp' in the defaults list"),
        ("defaults: [model: mlp]\n", "unexpected entry {'model': 'mlp'} in the defaults list"),
        ("defaults: [override /model: null]\n", "unexpected entry {'override /model': None}"),
        ("[1, 2]\n", "holds no settings"),
        ("optimizer.lr: [\n", "is damaged"),
    ],
)
def test_error_names_the_file(text: str, says: str, folder: Path) -> None:
    (folder / "best.yaml").write_text(text)
    with pytest.raises(InputError) as error:
        tuned(["tuned=best.yaml"])
    assert str(error.value).startswith(f"best.yaml: {says}")
    assert str(error.value).endswith("; tuned= takes the best.yaml of a sweep")
