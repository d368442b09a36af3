"""Print tables of scores in the terminal."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stemsplit.evaluation.intervals import FEW_SONGS, Interval
from stemsplit.evaluation.protocol import Protocol
from stemsplit.evaluation.rows import GAIN, WEIGHTED, Differences, Row, Rows, Score, Spreads
from stemsplit.evaluation.scores import METRICS
from stemsplit.evaluation.song_metrics import SPECTRAL
from stemsplit.terminal.counts import counted
from stemsplit.terminal.tables import print_table


def print_scores(rows: Rows, protocol: Protocol, title: str) -> None:
    """Print a table with a section per system and a row per stem."""
    table = Table(
        title=Text(f"{title}\n{protocol}"),
        caption="dB: median over frames, then over songs [95 % interval]; (n): the score exists "
        "for n songs only. Below a stem: frames and songs with an SDR.",
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
    if min((row.songs for row in rows.values()), default=FEW_SONGS) < FEW_SONGS:
        console.print(f"fewer than {FEW_SONGS} songs: each interval is the range over the songs")
    for name, row in rows.items():
        if notes := list(left_out(row)):
            console.print(Text(f"{name}: {'; '.join(notes)}"), soft_wrap=True)


def counts(row: Row, score: Score) -> tuple[str, str]:
    """Two fractions, for frames and for songs: the number with this score / the total number."""
    return f"{score.frames}/{row.frames}", f"{score.songs}/{row.songs}"


def left_out(row: Row) -> Iterator[str]:
    """Yield texts: why frames have no score, and how estimates were changed before scoring."""
    for text, count in row.dropped.items():
        yield f"{counted(count, 'frame')} left out ({text})"
    for text, count in row.notes.items():
        yield text if row.songs == 1 else f"{text} ({counted(count, 'song')})"


def print_whole_songs(rows: Rows) -> None:
    """Print the SDR gain over the mixture and the metrics of whole songs."""
    all_metrics = [metrics for row in rows.values() for metrics in row.scores.values()]
    columns = [
        name
        for name in dict.fromkeys(name for metrics in all_metrics for name in metrics)
        if name not in METRICS
    ]
    caption = "dB: median over songs"
    if any(name in columns for name in WEIGHTED.values()):
        caption += f"; {', '.join(WEIGHTED.values())}: mean over songs, weighted by length"
    if SPECTRAL in columns:
        caption += f"; the {SPECTRAL} has no unit"
    table = Table(title="SDR gain over the mixture, and metrics of whole songs", caption=caption)
    table.add_column()
    for column in columns:
        table.add_column(column, justify="right")
    for name, row in rows.items():
        table.add_row(Text(name, style="bold"))
        for stem, scores in row.scores.items():
            gain = cell(scores[GAIN], scores["SDR"])
            numbers = [
                number(scores.get(column), scores["SDR"]) for column in columns if column != GAIN
            ]
            table.add_row(Text(f"  {stem}"), gain, *numbers)
        table.add_section()
    print_table(table)


def print_differences(differences: Differences) -> None:
    """Print the paired differences of SDR between systems."""
    table = Table(
        title="paired differences of SDR in dB",
        caption="median over songs [95 % interval], on the frames in which both systems have "
        "scores; p: Wilcoxon signed-rank test",
    )
    for column in ("", "stem", "difference", "p", "frames", "songs"):
        table.add_column(column, justify="left" if column in ("", "stem") else "right")
    for pair, stems in differences.items():
        for stem, metrics in stems.items():
            difference = metrics["SDR"]
            p = "–" if difference.p is None else f"{difference.p:.2g}"
            numbers = (str(difference.frames), str(difference.songs))
            table.add_row(Text(pair), Text(stem), cell(difference.interval), p, *numbers)
    print_table(table)


def print_spreads(spreads: Spreads) -> None:
    """Print mean and standard deviation over several training runs of a model."""
    table = Table(title="mean ± standard deviation over several training runs, in dB")
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


def cell(score: Interval | Score, sdr: Score | None = None) -> str:
    """A score in the format of `number`, with its interval below."""
    if score.low is None:
        return number(score, sdr)
    return f"{number(score, sdr)}\n[dim]\\[{score.low:.1f}, {score.high:.1f}][/dim]"


def number(score: Interval | Score | None, sdr: Score | None = None) -> str:
    """Format a score with two decimals.

    If `score` and `sdr` exist for different numbers of songs, the number of songs of `score`
    follows in brackets.
    """
    if score is None or score.value is None:
        return "–"
    text = f"{score.value + 0.0:.2f}"
    if isinstance(score, Score) and sdr is not None and score.songs != sdr.songs:
        text += f" ({score.songs})"
    return text
