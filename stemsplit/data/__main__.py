"""``python -m stemsplit.data list|verify|clean``: manage the decoded songs."""

import argparse
import os
import sys
from pathlib import Path

from rich.table import Table
from rich.text import Text

from stemsplit.data.store.store import size
from stemsplit.data.store.upkeep import clean, entries, verify
from stemsplit.errors import InputError, one_line_errors
from stemsplit.terminal.tables import print_table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stemsplit.data", description=__doc__)
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(os.environ.get("STEMSPLIT_CACHE") or "~/.cache/stemsplit"),
        help="the store's folder, as data.cache names it (default: %(default)s)",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="what it holds, the largest first")
    commands.add_parser("verify", help="read all of it; exit code 1 where samples are damaged")
    cleaning = commands.add_parser(
        "clean", help="remove what is damaged, left over or of another version"
    )
    cleaning.add_argument(
        "--unused-days",
        type=days,
        metavar="DAYS",
        help="also what was not used for so long; 0 removes all",
    )
    with one_line_errors():
        given = parser.parse_args()
        cache = given.cache.expanduser()
        if not cache.is_dir():
            raise InputError(
                f"{cache}: there is no such folder, so no songs are decoded there; choose another "
                "cache with --cache FOLDER"
            )
        if given.command == "list":
            show(cache)
        elif given.command == "verify":
            report(cache)
        else:
            for folder, reason in clean(cache, given.unused_days):
                print(f"removed {folder}: it {reason}")


def days(text: str) -> float:
    number = float(text)
    if not number >= 0:
        raise ValueError
    return number


def show(cache: Path) -> None:
    found = entries(cache)
    total = sum(entry.size for entry in found)
    table = Table(title=Text(f"{cache}: {len(found)} songs, {size(total)}"))
    for column in ("song", "decoded from"):
        table.add_column(column)
    for column in (r"rate \[Hz]", "size", r"unused \[days]"):
        table.add_column(column, justify="right")
    for entry in found:
        table.add_row(
            Text(entry.name),
            Text(entry.path),
            str(entry.sample_rate),
            size(entry.size),
            f"{entry.unused_days:.0f}",
        )
    print_table(table)


def report(cache: Path) -> None:
    checked = damaged = 0
    for folder, is_intact in verify(cache):
        checked += 1
        if not is_intact:
            damaged += 1
            print(f"damaged: {folder}")
    print(f"{checked} songs verified, {damaged} damaged")
    if damaged:
        print("python -m stemsplit.data clean removes those; the next use decodes them anew")
        sys.exit(1)


if __name__ == "__main__":
    main()
