"""Print tables in which no figure is cut, however narrow the terminal is."""

from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Column, Table

LABEL = 15  # characters that a column of words keeps; longer words are folded
FRAME = 3  # characters that a column takes besides its cells: a line, and a blank on either side
INDENT = 4  # characters before each figure of a list
UNBOUNDED = 10_000  # wider than any cell


def print_table(table: Table, console: Console | None = None) -> None:
    """Print a table, or a list of its cells where the terminal is too narrow for it.

    Columns that are justified to the right hold figures, all others words.
    """
    console = Console() if console is None else console
    for column in table.columns:
        if is_of_figures(column):
            column.no_wrap = True
        else:
            column.overflow = "fold"
    if 1 + sum(FRAME + width(column, console) for column in table.columns) <= console.width:
        console.print(table)
        return
    for heading in (table.title, *listed(table, console), table.caption):
        if heading is not None:
            console.print(heading)


def listed(table: Table, console: Console) -> Iterator[RenderableType]:
    """For each row its words, then a line for each of its figures with the name of the column."""
    names = max(
        width_of(column.header, console) for column in table.columns if is_of_figures(column)
    )
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        figures = Table.grid(padding=(0, 2))
        figures.add_column(min_width=names)
        figures.add_column(overflow="fold")
        for column, cell in zip(table.columns, cells, strict=True):
            if not cell:
                continue
            if is_of_figures(column):
                line = str(cell).replace("\n", " ")
                fits = INDENT + names + 2 + width_of(line, console) <= console.width
                figures.add_row(column.header, line if fits else cell)
            else:
                yield cell
        if figures.row_count:
            yield Padding(figures, (0, 0, 0, INDENT))


def is_of_figures(column: Column) -> bool:
    return column.justify == "right"


def width(column: Column, console: Console) -> int:
    """The least that a column needs: its widest figure, or its longest word up to `LABEL`."""
    cells = [column.header, *column.cells]
    if is_of_figures(column):
        return max(width_of(cell, console) for cell in cells)
    words = console.options.update(width=UNBOUNDED)
    return min(LABEL, max(console.measure(cell, options=words).minimum for cell in cells))


def width_of(cell: RenderableType, console: Console) -> int:
    return console.measure(cell, options=console.options.update(width=UNBOUNDED)).maximum
