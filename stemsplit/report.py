"""``python -m stemsplit.report RUN…``: write the HTML report of runs or of a sweep.

``python -m stemsplit.report ranking SWEEP``: does a small training set rank as the full one?
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from stemsplit.errors import InputError, one_line_errors
from stemsplit.files import READ_ONLY

SWEEP = "study.journal"  # the file that makes a folder a sweep's


def main(arguments: Sequence[str] | None = None) -> None:
    given = list(sys.argv[1:] if arguments is None else arguments)
    with one_line_errors():
        if asks_for_ranking(given):
            known = ranking_parser().parse_intermixed_args(given[1:])
            with extra_needed(known.sweep):
                from stemsplit.sweeps.ranking import ranking

            ranking(known.sweep, known.trials, known.overrides)
        else:
            known = page_parser().parse_args(given)
            print(page(known.runs, known.output))


def asks_for_ranking(words: Sequence[str]) -> bool:
    """Whether ``ranking`` is the command: not where it is the folder of a run or of a sweep.

    Beside such a folder the command still ranks a sweep; ``./ranking`` is always the folder.
    """
    if list(words[:1]) != ["ranking"]:
        return False
    is_folder = any((Path("ranking") / name).is_file() for name in ("config.yaml", SWEEP))
    return not is_folder or any((Path(word) / SWEEP).is_file() for word in words[1:])


def page_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m stemsplit.report",
        description="Write one self-contained HTML file, and print its path. (Another command: "
        "`python -m stemsplit.report ranking --help`; a run called so is ./ranking.)",
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="a run's folder: RUN/report.html; several: a comparison of them, report.html here; "
        "a sweep's folder: SWEEP/report.html",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="another place for it")
    return parser


def ranking_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m stemsplit.report ranking",
        description="Train some of a sweep's settings on the full training set, in "
        "SWEEP/full/TRIAL, and correlate their ranks by the figure that the sweep looked for; "
        "what is there already is taken up.",
    )
    parser.add_argument("sweep", type=Path, metavar="SWEEP", help="the folder of a sweep")
    parser.add_argument(
        "--trials",
        type=int,
        default=5,
        help="how many of its settings, evenly from the best to the worst (default: %(default)s)",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="SETTING",
        help="other settings for the full trainings, as epochs=100",
    )
    return parser


def page(folders: Sequence[Path], output: Path | None = None) -> Path:
    """Write the page of a run, of several, or of a sweep; returns where it lies."""
    # Only here: matplotlib and torch take seconds, which --help does without.
    from stemsplit.reporting.page import comparison_page, run_page, write
    from stemsplit.reporting.run_records import read_run

    sweeps = [folder for folder in folders if (folder / SWEEP).is_file()]
    if sweeps and len(folders) > 1:
        raise InputError(f"{sweeps[0]}: a sweep has a page of its own: report it alone")
    if sweeps:
        with extra_needed(sweeps[0]):
            from stemsplit.sweeps.report import page_of

        path, text = folders[0] / "report.html", page_of(folders[0])
    elif len(folders) == 1:
        path, text = folders[0] / "report.html", run_page(read_run(folders[0]))
    else:
        records = [
            read_run(folder, name) for folder, name in zip(folders, names(folders), strict=True)
        ]
        path, text = Path("report.html"), comparison_page(records)
    path = output or path
    try:
        write(path, text)
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        raise InputError(f"{path}: {error.strerror}; say --output FILE") from None
    return path


@contextmanager
def extra_needed(sweep: Path) -> Iterator[None]:
    """Around imports of Optuna, which is an extra; other pages can do without."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(
            f"{sweep}: needs {error.name}, of the extra `sweeps`: pip install 'stemsplit[sweeps]'"
        ) from None


def names(folders: Sequence[Path]) -> list[str]:
    """As much of the folders' paths as tells them apart."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        found = ["/".join(part[-length:]) for part in parts]
        if len(set(found)) == len(found):
            return found
    raise InputError(f"{folders[0]}: is given twice")


if __name__ == "__main__":
    main()
