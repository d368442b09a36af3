"""The commands in the documentation parse, and its links lead to files and headings."""

import argparse
import importlib
import re
import shlex
from pathlib import Path
from typing import Any, NoReturn

import pytest

from stemsplit import configuration
from stemsplit.command_line.prepared import prepared

CHECKOUT = Path(__file__).resolve().parent.parent
PAGES = [
    *(CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    CHECKOUT / "experiments" / "README.md",
    *sorted((CHECKOUT / "docs").glob("*.md")),
]
if not all(page.is_file() for page in PAGES):
    pytest.skip("there is no checkout", allow_module_level=True)
configuration.register_resolvers()
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
WITH_HYDRA = ("train", "evaluate", "doctor")
CLUSTER_LAUNCHERS = {"hydra/launcher=submitit_slurm", "hydra/launcher=ray"}
# Settings that read a run, which the documentation only names, and words that are no settings.
LEFT_OUT = ("resume=", "tuned=", "--json", "--help", "…")


def shell_lines(page: Path) -> list[str]:
    """The lines of a page's shell blocks, and its commands in running text."""
    text = page.read_text()
    blocks = [
        code.replace("\\\n", " ") for language, code in FENCE.findall(text) if language == "sh"
    ]
    inline = re.findall(r"`((?:python -m|stemsplit) [^`]*)`", FENCE.sub("", text))
    return [
        *(line.strip() for block in blocks for line in block.splitlines()),
        *(" ".join(command.split()) for command in inline),
    ]


def commands() -> dict[str, tuple[str, list[str]]]:
    """Command and arguments of each line with `stemsplit COMMAND` or `-m stemsplit.COMMAND`.

    test_contributing.py runs the commands of CONTRIBUTING.md.
    """
    found = {}
    pages = [page for page in PAGES if page.name != "CONTRIBUTING.md"]
    for line in (line for page in pages for line in shell_lines(page)):
        match = re.search(r"(?:-m stemsplit\.|^stemsplit )([a-z]+)\b(.*)", line)
        if match and "|" not in match[2]:  # list|verify|clean
            words = shlex.split(re.sub(r"\$[A-Z_]+", "1", match[2]), comments=True)
            found[shlex.join([match[1], *words])] = match[1], words
    return found


class ParsedError(Exception):
    """Raised in place of what a command does after it has parsed its arguments."""


def check_arguments(command: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise `ParsedError` if argparse accepts the arguments, and `SystemExit` if it does not."""
    for name in ("parse_args", "parse_intermixed_args"):
        original = getattr(argparse.ArgumentParser, name)

        def parse(self: Any, *words: Any, original: Any = original) -> NoReturn:
            original(self, *words)
            raise ParsedError

        monkeypatch.setattr(argparse.ArgumentParser, name, parse)
    monkeypatch.setattr("sys.argv", [command, *arguments])
    module = importlib.import_module(f"stemsplit.{command}")
    if not hasattr(module, "main"):  # a folder: `models`, `data`
        module = importlib.import_module(f"stemsplit.{command}.__main__")
    module.main()


@pytest.mark.parametrize("line", commands())
def test_commands_parse(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command, arguments = commands()[line]
    monkeypatch.chdir(tmp_path)
    if CLUSTER_LAUNCHERS & set(arguments):
        pytest.importorskip("submitit", reason="needs pip install --editable '.[cluster]'")
    if command in WITH_HYDRA:
        prepared(command, [word for word in arguments if not word.startswith(LEFT_OUT)])
    elif arguments and "--help" not in arguments:
        with pytest.raises(ParsedError):
            check_arguments(command, arguments, monkeypatch)


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub turns them into anchors."""
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if not link.startswith("https://"):
            name, _, anchor = link.partition("#")
            target = page.parent / name if name else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        named = re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)
        assert set(named) <= targets, page
