"""Paths on the command line may contain any characters."""

import os
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from stemsplit.errors import InputError
from stemsplit.settings.paths import PATHS, quote_paths, without_quotes

NAMES = [
    *("日本", "a=b", "a b", "a,b", "[x]", "{y}", "a#b", "it's", 'say "hi"', "$x", "a(b)", "c:d"),
    *("tail/", "12345", "1e3", "true", "back\\", "a\\'b", "'q", "a;b|c&d", "*", "!x", "é", "😀"),
    *("a'b\"c", "two  blanks", "-dash", "%41", "@here", "null.", "a\tb", "choice(a,b)", "\\"),
]


def value(word: str, sweeping: bool = False) -> Any:
    """The value that Hydra parses from a quoted argument; quoting twice changes nothing."""
    [quoted] = quote_paths([word], sweeping)
    assert quote_paths([quoted], sweeping) == [quoted]
    [override] = OverridesParser.create().parse_overrides([quoted])
    return override.value()


@pytest.mark.parametrize("name", NAMES)
def test_every_path_is_passed_unchanged(name: str) -> None:
    for setting in sorted(PATHS):
        assert value(f"{setting}={name}") == name
        [quoted] = quote_paths([f"{setting}={name}"])
        assert quote_paths([without_quotes(quoted)]) == [quoted]
    assert without_quotes("data.root='my songs'") == "data.root=my songs"
    assert value(f"checkpoint.mine={name}") == name
    assert value(f"+estimates.mine=/runs/{name}") == f"/runs/{name}"


@pytest.mark.parametrize("name", [*NAMES, "null", "[A,B]", "{A: B}", "'q'", " lead", "${x}", "~"])
def test_existing_file_takes_precedence_over_grammar(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.makedirs(name)
    path = value(f"checkpoint={name}").replace("\\${", "${")  # undo OmegaConf's escaping
    assert os.path.samefile(path, name)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("resume=null", None),
        ("data.root='a b'", "a b"),
        ('data.root="it\'s"', "it's"),
        ("checkpoint=[A,B]", ["A", "B"]),
        ("checkpoint=[日本 1, 'a,b' , c=d,12]", ["日本 1", "a,b", "c=d", "12"]),
        ("checkpoint=[]", []),
        ("estimates={NAME: DIR}", {"NAME": "DIR"}),
        ("estimates={a: /日,b c: 'd,e:f', d: C:/x}", {"a": "/日", "b c": "d,e:f", "d": "C:/x"}),
        ("estimates={}", {}),
        ("data.root=${oc.env:SONGS}/a b", "${oc.env:SONGS}/a b"),
        ("data.cache=~/songs", f"{Path.home()}/songs"),
        ("data.root=", ""),
        ("targets=[a,b]", ["a", "b"]),
        ("epochs=3", 3),
    ],
)  # fmt: skip
def test_lists_mappings_and_references_are_parsed(word: str, expected: Any) -> None:
    assert value(word) == expected


def test_duplicate_name_is_rejected() -> None:
    with pytest.raises(InputError, match="duplicate name a"):
        quote_paths(["estimates={a: one, b: two, a: three}"])


def test_commas_separate_jobs_of_a_sweep() -> None:
    words = ["data.root=/日本,'/a b'", "data.cache=choice(a,b)", "-m", "optimizer.lr=1,2"]
    quoted = quote_paths(words, sweeping=True)
    assert quoted == ["data.root='/日本','/a b'", *words[1:]]
