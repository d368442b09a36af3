"""Tables of scores: for the terminal, for a spreadsheet, and for a paper."""

import csv
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stemsplit.evaluation.intervals import Difference, Interval
from stemsplit.evaluation.protocol import Protocol
from stemsplit.evaluation.scores import METRICS
from stemsplit.evaluation.tables import Rows, Spread, gain
from stemsplit.files import replacing

Differences = Mapping[str, Mapping[str, Mapping[str, Difference]]]  # by "A - B", stem and metric
Spreads = Mapping[str, Mapping[str, Mapping[str, Spread]]]  # by model, stem and metric


def print_scores(rows: Rows, protocol: Protocol, title: str) -> None:
    """A section a system, a row a stem; medians in dB over their 95 % intervals."""
    table = Table(
        title=Text(f"{title}\n{protocol}"),
        caption="dB: median of frames, then of songs [95 % interval]",
    )
    table.add_column()
    for column in METRICS:
        table.add_column(column, justify="right")
    for name, row in rows.items():
        table.add_row(Text(name, style="bold"))
        for stem, scores in row.scores.items():
            table.add_row(Text(f"  {stem}"), *(cell(scores[metric]) for metric in METRICS))
        table.add_section()
    console = Console()
    console.print(table)
    for name, row in rows.items():
        counts = [f"{row.frames} of {row.of} frames of {row.songs} songs scored"]
        counts += [f"{text}: {count} frames" for text, count in row.dropped.items()]
        counts += [f"{text}: {count} songs" for text, count in row.notes.items()]
        console.print(Text(f"{name}: {'; '.join(counts)}"), soft_wrap=True)


def print_whole_songs(rows: Rows) -> None:
    """The gain of SDR over the first row, the mixture; and figures of whole songs.

    In dB but for the distance; medians of songs, or means weighted by length.
    """
    found = [metrics for row in rows.values() for metrics in row.scores.values()]
    figures = [
        name
        for name in dict.fromkeys(name for metrics in found for name in metrics)
        if name not in METRICS
    ]
    table = Table(
        title="SDR above the mixture's, and figures of whole songs",
        caption="medians of songs; GNSDR, GSIR, GSAR: means weighted by length",
    )
    table.add_column()
    for figure in ("gain", *figures):
        table.add_column(figure, justify="right")
    base = next(iter(rows.values()))
    for name, row in rows.items():
        table.add_row(Text(name, style="bold"))
        for stem, scores in row.scores.items():
            cells = [scores[figure].median if figure in scores else None for figure in figures]
            cells = [gain(row, base, stem), *cells]
            texts = ["–" if median is None else f"{median + 0.0:.2f}" for median in cells]
            table.add_row(Text(f"  {stem}"), *texts)
        table.add_section()
    Console().print(table)


def print_differences(differences: Differences) -> None:
    """Of systems on the frames that both have, song by song."""
    table = Table(
        title="paired differences of SDR, dB", caption="median over songs [95 % interval]; Wilcoxon"
    )
    for column in ("", "stem", "difference", "p", "songs"):
        table.add_column(column, justify="left" if column in ("", "stem") else "right")
    for pair, stems in differences.items():
        for stem, metrics in stems.items():
            found = metrics["SDR"]
            p = "–" if found.p is None else f"{found.p:.2g}"
            table.add_row(Text(pair), Text(stem), cell(found.interval), p, str(found.songs))
    Console().print(table)


def print_spreads(spreads: Spreads) -> None:
    table = Table(title="several trainings: mean ± standard deviation, dB")
    for column in ("", "stem", *METRICS, "trainings"):
        table.add_column(column, justify="left" if column in ("", "stem") else "right")
    for model, stems in spreads.items():
        for stem, metrics in stems.items():
            cells = [
                f"{metrics[m].mean:.2f} ± {metrics[m].deviation:.2f}" if m in metrics else "–"
                for m in METRICS
            ]
            seeds = str(max((spread.seeds for spread in metrics.values()), default=0))
            table.add_row(Text(model), Text(stem), *cells, seeds)
    Console().print(table)


def cell(interval: Interval) -> str:
    if interval.median is None:
        return "–"
    if interval.low is None:
        return f"{interval.median:.2f}"
    return f"{interval.median:.2f}\n[dim]\\[{interval.low:.1f}, {interval.high:.1f}][/dim]"


def write_csv(path: Path, rows: Rows, protocol: Protocol) -> None:
    """A line a system, stem and metric; the protocol on each."""
    columns = ("system", "stem", "metric", "median", "low", "high")
    counts = ("songs", "frames", "frames_of", "protocol")
    with replacing(path) as partial, partial.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow([*columns, *counts])
        for name, row in rows.items():
            for stem, metrics in row.scores.items():
                for metric, interval in metrics.items():
                    facts = (row.songs, row.frames, row.of, str(protocol))
                    table.writerow([name, stem, metric, *interval, *facts])


def write_latex(path: Path, rows: Rows, protocol: Protocol) -> None:
    """A booktabs table of BSS Eval's medians with their intervals."""
    lines = [
        f"% {protocol}; dB, median of frames, then of songs [95 % interval]",
        r"\begin{tabular}{ll" + "r" * len(METRICS) + "}",
        r"\toprule",
        " & ".join(["system", "stem", *METRICS]) + r" \\",
    ]
    for name, row in rows.items():
        lines.append(r"\midrule")
        for stem, scores in row.scores.items():
            cells = [_latex_cell(scores[metric]) for metric in METRICS]
            lines.append(" & ".join([_latex(name), _latex(stem), *cells]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", ""]
    with replacing(path) as partial:
        partial.write_text("\n".join(lines))


def _latex_cell(interval: Interval) -> str:
    if interval.median is None:
        return "--"
    if interval.low is None:
        return f"{interval.median:.2f}"
    return f"{interval.median:.2f} [{interval.low:.1f}, {interval.high:.1f}]"


def _latex(text: str) -> str:
    return "".join(f"\\{c}" if c in "&%$#_{}" else c for c in text)
