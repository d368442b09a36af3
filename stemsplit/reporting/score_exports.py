"""Export scores as CSV and LaTeX tables."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stemsplit.evaluation.intervals import FEW_SONGS, Interval
from stemsplit.evaluation.protocol import Protocol
from stemsplit.evaluation.rows import GAIN, Differences, Rows, Score, Spreads
from stemsplit.evaluation.scores import METRICS
from stemsplit.files import replacing
from stemsplit.reporting.score_tables import counts, left_out, number


def write_csv(path: Path, rows: Rows, protocol: Protocol) -> None:
    """Write one line per system, stem and metric.

    Every line repeats the protocol. The column ``left_out`` says why frames of the system have no
    score, and how its estimates were changed before scoring.
    """
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
    """Write one line per pair of systems, stem and metric."""
    columns = ("systems", "stem", "metric", "median", "low", "high", "p", "songs", "frames")
    _write_csv(
        path,
        (*columns, "protocol"),
        (
            (pair, stem, metric, *paired.interval, paired.p, paired.songs, paired.frames, protocol)
            for pair, stems in differences.items()
            for stem, metrics in stems.items()
            for metric, paired in metrics.items()
        ),
    )


def write_spreads_csv(path: Path, spreads: Spreads, protocol: Protocol) -> None:
    """Write one line per model, stem and metric."""
    _write_csv(
        path,
        ("model", "stem", "metric", "mean", "deviation", "trainings", "protocol"),
        (
            (model, stem, metric, *spread, protocol)
            for model, stems in spreads.items()
            for stem, metrics in stems.items()
            for metric, spread in metrics.items()
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
    """Write tables for the LaTeX package booktabs: medians of BSS Eval, differences, spreads."""
    lines = [
        f"% {protocol}",
        "% dB: median over frames, then over songs [95 % interval]",
        f"% With fewer than {FEW_SONGS} songs, the interval is the range over the songs.",
        "% (n): the score exists for n songs only.",
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
        lines += ["", "% paired differences of SDR in dB: median over songs [95 % interval]"]
        lines += _latex_table(
            ["systems", "stem", "difference", "$p$", "frames", "songs"],
            [
                [
                    [
                        _latex(pair),
                        _latex(stem),
                        _latex_cell(paired.interval),
                        "--" if paired.p is None else f"{paired.p:.2g}",
                        str(paired.frames),
                        str(paired.songs),
                    ]
                    for stem, metrics in stems.items()
                    for paired in [metrics["SDR"]]
                ]
                for pair, stems in differences.items()
            ],
        )
    if spreads:
        lines += ["", "% mean and standard deviation over several training runs, in dB"]
        lines += _latex_table(
            ["model", "stem", *METRICS],
            [
                [
                    [
                        _latex(model),
                        _latex(stem),
                        *(
                            rf"{spread.mean:.2f} $\pm$ {spread.deviation:.2f}" if spread else "--"
                            for spread in map(metrics.get, METRICS)
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
    """A table with two columns of text, then columns of numbers; a rule above each section."""
    lines = [
        r"\begin{tabular}{ll" + "r" * (len(columns) - 2) + "}",
        r"\toprule",
        " & ".join(columns) + r" \\",
    ]
    for section in sections:
        lines += [r"\midrule", *(" & ".join(cells) + r" \\" for cells in section)]
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _latex_cell(score: Interval | Score, sdr: Score | None = None) -> str:
    text = number(score, sdr).replace("–", "--")
    if score.low is None:
        return text
    return f"{text} [{score.low:.1f}, {score.high:.1f}]"


def _latex(text: str) -> str:
    """Escape LaTeX's special characters."""
    commands = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(commands.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)
