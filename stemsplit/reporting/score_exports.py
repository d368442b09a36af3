"""Export scores as CSV and LaTeX tables."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stemsplit.evaluation.intervals import FEW, Interval
from stemsplit.evaluation.protocol import Protocol
from stemsplit.evaluation.scores import METRICS
from stemsplit.evaluation.tables import GAIN, Differences, Rows, Score, Spreads
from stemsplit.files import replacing
from stemsplit.reporting.score_tables import counts, left_out, number


def write_csv(path: Path, rows: Rows, protocol: Protocol) -> None:
    """A line a system, stem and metric; the protocol, and what was left out and why, on each."""
    columns = ("system", "stem", "metric", "statistic", "value", "low", "high")
    numbers = ("songs", "songs_of", "frames", "frames_of", "left_out", "protocol")
    _write_csv(
        path,
        (*columns, *numbers),
        (
            (
                name,
                stem,
                metric,
                score.statistic,
                score.value,
                score.low,
                score.high,
                score.songs,
                row.songs,
                score.frames,
                None if score.frames is None else row.frames,
                "; ".join(left_out(row)),
                protocol,
            )
            for name, row in rows.items()
            for stem, metrics in row.scores.items()
            for metric, score in metrics.items()
        ),
    )


def write_differences_csv(path: Path, differences: Differences, protocol: Protocol) -> None:
    columns = ("systems", "stem", "metric", "median", "low", "high", "p", "songs", "frames")
    _write_csv(
        path,
        (*columns, "protocol"),
        (
            (pair, stem, metric, *found.interval, found.p, found.songs, found.frames, protocol)
            for pair, stems in differences.items()
            for stem, metrics in stems.items()
            for metric, found in metrics.items()
        ),
    )


def write_spreads_csv(path: Path, spreads: Spreads, protocol: Protocol) -> None:
    _write_csv(
        path,
        ("model", "stem", "metric", "mean", "deviation", "trainings", "protocol"),
        (
            (model, stem, metric, *found, protocol)
            for model, stems in spreads.items()
            for stem, metrics in stems.items()
            for metric, found in metrics.items()
        ),
    )


def _write_csv(path: Path, columns: Sequence[str], lines: Iterator[Sequence[Any]]) -> None:
    with (
        replacing(path) as partial,
        partial.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        table = csv.writer(file)
        table.writerow(columns)
        table.writerows(lines)


def write_latex(
    path: Path, rows: Rows, differences: Differences, spreads: Spreads, protocol: Protocol
) -> None:
    """Booktabs tables: BSS Eval's medians with their intervals, then differences and spreads."""
    lines = [f"% {protocol}; dB, median of frames, then of songs [95 % interval]"]
    lines += [
        f"% of fewer than {FEW} songs an interval is their range, in brackets: a score's songs"
    ]
    lines += [f"% {name}: {text}" for name, row in rows.items() for text in left_out(row)]
    lines += _latex_table(
        ["system", "stem", *METRICS, GAIN, "frames", "songs"],
        [
            [
                [
                    _latex(name),
                    _latex(stem),
                    *(_latex_cell(scores[metric], scores["SDR"]) for metric in (*METRICS, GAIN)),
                    *counts(row, scores["SDR"]),
                ]
                for stem, scores in row.scores.items()
            ]
            for name, row in rows.items()
        ],
    )
    if differences:
        lines += ["", "% paired differences of SDR, dB: median over songs [95 % interval]"]
        lines += _latex_table(
            ["systems", "stem", "difference", "$p$", "frames", "songs"],
            [
                [
                    [
                        _latex(pair),
                        _latex(stem),
                        _latex_cell(found.interval),
                        "--" if found.p is None else f"{found.p:.2g}",
                        str(found.frames),
                        str(found.songs),
                    ]
                    for stem, metrics in stems.items()
                    for found in [metrics["SDR"]]
                ]
                for pair, stems in differences.items()
            ],
        )
    if spreads:
        lines += ["", "% several trainings: mean and standard deviation, dB"]
        lines += _latex_table(
            ["model", "stem", *METRICS],
            [
                [
                    [
                        _latex(model),
                        _latex(stem),
                        *(
                            rf"{found.mean:.2f} $\pm$ {found.deviation:.2f}" if found else "--"
                            for found in map(metrics.get, METRICS)
                        ),
                    ]
                    for stem, metrics in stems.items()
                ]
                for model, stems in spreads.items()
            ],
        )
    with replacing(path) as partial:
        text = "\n".join([*lines, ""])
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def _latex_table(columns: Sequence[str], sections: Sequence[Sequence[Sequence[str]]]) -> list[str]:
    """Two columns of words, others of numbers; a rule before every section."""
    lines = [
        r"\begin{tabular}{ll" + "r" * (len(columns) - 2) + "}",
        r"\toprule",
        " & ".join(columns) + r" \\",
    ]
    for section in sections:
        lines += [r"\midrule", *(" & ".join(cells) + r" \\" for cells in section)]
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _latex_cell(found: Interval | Score, beside: Score | None = None) -> str:
    shown = number(found, beside).replace("–", "--")
    if found.low is None:
        return shown
    return f"{shown} [{found.low:.1f}, {found.high:.1f}]"


def _latex(text: str) -> str:
    named = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(named.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)
