"""``stemsplit data list|verify|clean``: manage the decoded songs."""

import argparse
import os
import sys
from pathlib import Path

from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from stemsplit.data.store.upkeep import clean, entries, verify
from stemsplit.errors import InputError, one_line_errors
from stemsplit.machine.caches import cache_folder
from stemsplit.terminal.counts import counted
from stemsplit.terminal.tables import print_table


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="stemsplit data", description="List, verify and clean the decoded songs."
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=cache_folder(),
        help="folder of the decoded songs; same as the setting data.cache (default: %(default)s)",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="list the decoded songs, largest first")
    commands.add_parser("verify", help="check all samples; exit with code 1 if any are damaged")
    cleaning = commands.add_parser(
        "clean",
        help="remove songs that are damaged, incomplete or from another version of stemsplit",
    )
    cleaning.add_argument(
        "--unused-days",
        type=days,
        metavar="DAYS",
        help="also remove songs not used for this many days; 0 removes all songs",
    )
    with one_line_errors():
        arguments = parser.parse_args()
        cache = Path(os.path.expanduser(arguments.cache))
        if not cache.is_dir():
            raise InputError(
                f"{cache}: the folder does not exist; choose the folder of the decoded songs with "
                "--cache FOLDER"
            )
        if arguments.command == "list":
            show(cache)
        elif arguments.command == "verify":
            report(cache)
        else:
            for folder, reason in clean(cache, arguments.unused_days):
                print(f"removed {folder}: it {reason}")


def days(text: str) -> float:
    """Convert text to a number of days. Raises `ValueError` unless it is 0 or more."""
    number = float(text)
    if not number >= 0:
        raise ValueError
    return number


def show(cache: Path) -> None:
    """Print a table of the decoded songs."""
    songs = entries(cache)
    total = sum(entry.size for entry in songs)
    table = Table(title=Text(f"{cache}: {counted(len(songs), 'song')}, {decimal(total)}"))
    for column in ("song", "decoded from"):
        table.add_column(column)
    for column in (r"rate \[Hz]", "size", r"unused \[days]"):
        table.add_column(column, justify="right")
    for entry in songs:
        table.add_row(
            Text(entry.name),
            Text(entry.path),
            str(entry.sample_rate),
            decimal(entry.size),
            f"{entry.unused_days:.0f}",
        )
    print_table(table)


def report(cache: Path) -> None:
    """Print the damaged songs; exit with code 1 if there are any."""
    checked = damaged = 0
    for folder, is_intact in verify(cache):
        checked += 1
        if not is_intact:
            damaged += 1
            print(f"damaged: {folder}")
    print(f"{checked} songs verified, {damaged} damaged")
    if damaged:
        print("remove them with: stemsplit data clean; they are decoded again when used")
        sys.exit(1)


if __name__ == "__main__":
    main()
