"""Print tables on terminals of any width."""

import io
import re

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stemsplit.terminal.tables import print_table

NUMBERS = ["-12.34", "[-12.9, 104.2]", "1234.5678", "0.0625", "101/101"]


def printed(width: int) -> str:
    table = Table(title=Text("scores of a/long/path/of/a/folder"), caption="dB: medians")
    table.add_column()
    for name in ("SDR", "SDR of the song", "p", "frames"):
        table.add_column(name, justify="right")
    table.add_row(Text("a_system_with_a_long_name"))
    table.add_row(Text("  accompaniment"), "-12.34\n[dim]\\[-12.9, 104.2][/dim]", *NUMBERS[2:])
    console = Console(file=io.StringIO(), width=width)
    print_table(table, console)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_numbers_and_names_are_not_truncated(width: int) -> None:
    text = printed(width)
    assert all(number in text for number in NUMBERS)
    assert "…" not in text
    assert all(len(line) <= width for line in text.splitlines())
    words = re.sub(r"\s", "", text)
    assert "a/long/path/of/a/folder" in words
    assert "a_system_with_a" in words


def test_table_becomes_list_on_narrow_terminal() -> None:
    assert "┃" in printed(80)
    lines = [line.rstrip() for line in printed(40).splitlines()]
    assert lines[1:] == [
        "a_system_with_a_long_name",
        "  accompaniment",
        "    SDR              -12.34",
        "                     [-12.9, 104.2]",
        "    SDR of the song  1234.5678",
        "    p                0.0625",
        "    frames           101/101",
        "dB: medians",
    ]
    wider = [line.rstrip() for line in printed(45).splitlines()]
    assert "    SDR              -12.34 [-12.9, 104.2]" in wider
