"""Print tables of scores in the terminal."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stemsplit.evaluation.intervals import FEW, Interval
from stemsplit.evaluation.protocol import Protocol
from stemsplit.evaluation.scores import METRICS
from stemsplit.evaluation.tables import GAIN, Differences, Row, Rows, Score, Spreads
from stemsplit.terminal.tables import print_table


def print_scores(rows: Rows, protocol: Protocol, title: str) -> None:
    """A section a system, a row a stem; medians in dB over their 95 % intervals."""
    table = Table(
        title=Text(f"{title}\n{protocol}"),
        caption="dB: median of frames, then of songs [95 % interval] (songs, where fewer); "
        "under a stem: frames and songs that have an SDR",
    )
    table.add_column()
    for column in METRICS:
        table.add_column(column, justify="right")
    for name, row in rows.items():
        table.add_row(Text(name, style="bold"))
        for stem, scores in row.scores.items():
            cells = [cell(scores[metric], scores["SDR"]) for metric in METRICS]
            name_and_counts = Text(f"  {stem}").append(
                "\n  " + ", ".join(counts(row, scores["SDR"])), style="dim"
            )
            table.add_row(name_and_counts, *cells)
        table.add_section()
    console = Console()
    print_table(table, console)
    few = min((row.songs for row in rows.values()), default=FEW)
    if few < FEW:
        console.print(f"intervals are of fewer than {FEW} songs: no more than their range")
    for name, row in rows.items():
        if remarks := list(left_out(row)):
            console.print(Text(f"{name}: {'; '.join(remarks)}"), soft_wrap=True)


def counts(row: Row, score: Score) -> tuple[str, str]:
    """Frames and songs that have a score, of those that there are."""
    return f"{score.frames}/{row.frames}", f"{score.songs}/{row.songs}"


def left_out(row: Row) -> Iterator[str]:
    """Why frames have no score, and what was done so that others have one."""
    for text, count in row.dropped.items():
        yield f"{text}: {count} frame{'s' * (count > 1)}"
    for text, count in row.notes.items():
        yield text if row.songs == 1 else f"{text} ({count} song{'s' * (count > 1)})"


def print_whole_songs(rows: Rows) -> None:
    """The gain of SDR over the mixture, and figures of whole songs, in dB but for the distance."""
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
    for figure in figures:
        table.add_column(figure, justify="right")
    for name, row in rows.items():
        table.add_row(Text(name, style="bold"))
        for stem, scores in row.scores.items():
            gain = cell(scores[GAIN], scores["SDR"])
            others = [
                number(scores.get(figure), scores["SDR"]) for figure in figures if figure != GAIN
            ]
            table.add_row(Text(f"  {stem}"), gain, *others)
        table.add_section()
    print_table(table)


def print_differences(differences: Differences) -> None:
    """Of systems on the frames that both have, song by song."""
    table = Table(
        title="paired differences of SDR, dB", caption="median over songs [95 % interval]; Wilcoxon"
    )
    for column in ("", "stem", "difference", "p", "frames", "songs"):
        table.add_column(column, justify="left" if column in ("", "stem") else "right")
    for pair, stems in differences.items():
        for stem, metrics in stems.items():
            found = metrics["SDR"]
            p = "–" if found.p is None else f"{found.p:.2g}"
            numbers = (str(found.frames), str(found.songs))
            table.add_row(Text(pair), Text(stem), cell(found.interval), p, *numbers)
    print_table(table)


def print_spreads(spreads: Spreads) -> None:
    table = Table(title="several trainings: mean ± standard deviation, dB")
    for column in ("", "stem", *METRICS, "trainings"):
        table.add_column(column, justify="left" if column in ("", "stem") else "right")
    for model, stems in spreads.items():
        for stem, metrics in stems.items():
            cells = [
                f"{metrics[m].mean:.2f}\n± {metrics[m].deviation:.2f}" if m in metrics else "–"
                for m in METRICS
            ]
            trainings = str(max((spread.trainings for spread in metrics.values()), default=0))
            table.add_row(Text(model), Text(stem), *cells, trainings)
    print_table(table)


def cell(found: Interval | Score, beside: Score | None = None) -> str:
    """A figure over its interval; see `number`."""
    if found.low is None:
        return number(found, beside)
    return f"{number(found, beside)}\n[dim]\\[{found.low:.1f}, {found.high:.1f}][/dim]"


def number(found: Interval | Score | None, beside: Score | None = None) -> str:
    """Two decimals; in brackets the songs, where they are others than those of a score beside."""
    if found is None or found.value is None:
        return "–"
    text = f"{found.value + 0.0:.2f}"
    if isinstance(found, Score) and beside is not None and found.songs != beside.songs:
        text += f" ({found.songs})"
    return text
