"""``stemsplit report RUN…``: write the HTML report of runs, evaluations or a sweep.

``stemsplit report ranking SWEEP`` tests whether a small training set ranks settings in the same
order as the full training set.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from stemsplit.errors import InputError, needs_extra, one_line_errors
from stemsplit.files import READ_ONLY

JOURNAL = "study.journal"  # every folder of a sweep contains this file


def main(arguments: Sequence[str] | None = None) -> None:
    words = list(sys.argv[1:] if arguments is None else arguments)
    with one_line_errors():
        if asks_for_ranking(words):
            options = ranking_parser().parse_intermixed_args(words[1:])
            with needs_extra("sweeps"):
                from stemsplit.sweeps.ranking import ranking

            ranking(options.sweep, options.trials, options.overrides)
        else:
            options = page_parser().parse_args(words)
            print(page(options.runs, options.output))


def asks_for_ranking(words: Sequence[str]) -> bool:
    """Whether the first word is the command ``ranking``, and not a folder with this name.

    If the folder ``ranking`` contains a run or a sweep, the word is the command only if a later
    word names a sweep. ``./ranking`` is always the folder.
    """
    if list(words[:1]) != ["ranking"]:
        return False
    is_folder = any((Path("ranking") / name).is_file() for name in ("config.yaml", JOURNAL))
    return not is_folder or any((Path(word) / JOURNAL).is_file() for word in words[1:])


def page_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stemsplit report",
        description="Write the report of a run, of several runs, of evaluations or of a sweep as "
        "one self-contained HTML file, and print its path. The command `report ranking` has its "
        "own help: `stemsplit report ranking --help`. To report a run whose folder is named "
        "ranking, write ./ranking.",
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="folder of a run, a sweep or an evaluation (writes report.html into it); several "
        "folders of runs and evaluations are compared in one report (writes report.html into the "
        "current folder)",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="file to write instead of report.html"
    )
    return parser


def ranking_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stemsplit report ranking",
        description="Test whether the small training set of a sweep ranks the settings in the "
        "same order as the full training set. Some trials are trained again on the full training "
        "set, in SWEEP/full/TRIAL, and Kendall's tau of the two rankings is printed. Training runs "
        "that are already finished are reused.",
    )
    parser.add_argument("sweep", type=Path, metavar="SWEEP", help="folder of a sweep")
    parser.add_argument(
        "--trials",
        type=int,
        default=5,
        help="number of trials, evenly spaced from the best to the worst (default: %(default)s)",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="SETTING",
        help="settings for training on the full training set, for example epochs=100",
    )
    return parser


def page(folders: Sequence[Path], output: Path | None = None) -> Path:
    """Write the report of runs and evaluations or of a sweep, and return its path.

    Raises `InputError` if a folder is not that of a run, an evaluation or a sweep, if its files are
    damaged, or if the report cannot be written.
    """
    # Imported here, since --help does not need matplotlib and torch, which take seconds to import.
    from stemsplit.reporting.page import comparison_page, run_page, write
    from stemsplit.reporting.run_records import is_evaluation, read_evaluation, read_run

    sweeps = [folder for folder in folders if (folder / JOURNAL).is_file()]
    if sweeps and len(folders) > 1:
        raise InputError(f"{sweeps[0]}: is a sweep; report each sweep separately")
    if sweeps:
        with needs_extra("sweeps"):
            from stemsplit.sweeps.report import page_of

        path, text = folders[0] / "report.html", page_of(folders[0])
    elif len(folders) == 1 and not is_evaluation(folders[0]):
        path, text = folders[0] / "report.html", run_page(read_run(folders[0]))
    else:
        named = dict(zip(names(folders), folders, strict=True))
        evaluations = {
            name: read_evaluation(folder) for name, folder in named.items() if is_evaluation(folder)
        }
        records = [
            read_run(folder, name) for name, folder in named.items() if name not in evaluations
        ]
        path = folders[0] / "report.html" if len(folders) == 1 else Path("report.html")
        text = comparison_page(records, evaluations)
    path = output or path
    try:
        write(path, text)
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        raise InputError(f"{path}: {error.strerror}; choose another file with --output") from None
    return path


def names(folders: Sequence[Path]) -> list[str]:
    """A unique name for each folder: the last parts of its path.

    All names have the same number of parts, the smallest for which all names differ. Raises
    `InputError` if two folders are the same.
    """
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        ends = ["/".join(part[-length:]) for part in parts]
        if len(set(ends)) == len(ends):
            return ends
    raise InputError("the same run is given twice; name each run once")


if __name__ == "__main__":
    main()
