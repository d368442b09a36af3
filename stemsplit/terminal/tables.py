"""Print tables without truncating numbers, on terminals of any width."""

from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Column, Table

# Widths in characters.
LABEL = 15  # a text column needs at most this width; longer words are folded
FRAME = 3  # extra width of a column: a line, and a space on either side
INDENT = 4  # indentation of the numbers in a list
UNBOUNDED = 10_000  # wider than any cell


def print_table(table: Table, console: Console | None = None) -> None:
    """Print a table, or a list of its cells if the terminal is too narrow for the table.

    Right-justified columns contain numbers. All other columns contain text.
    """
    console = Console() if console is None else console
    for column in table.columns:
        if is_numeric(column):
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
    """Yield the rows of a table as a list.

    For each row, first yield its text cells. Then yield one grid with a line for each number. The
    line contains the name of the column and the number.
    """
    label_width = max(
        width_of(column.header, console) for column in table.columns if is_numeric(column)
    )
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        numbers = Table.grid(padding=(0, 2))
        numbers.add_column(min_width=label_width)
        numbers.add_column(overflow="fold")
        for column, cell in zip(table.columns, cells, strict=True):
            if not cell:
                continue
            if is_numeric(column):
                line = str(cell).replace("\n", " ")
                fits = INDENT + label_width + 2 + width_of(line, console) <= console.width
                numbers.add_row(column.header, line if fits else cell)
            else:
                yield cell
        if numbers.row_count:
            yield Padding(numbers, (0, 0, 0, INDENT))


def is_numeric(column: Column) -> bool:
    return column.justify == "right"


def width(column: Column, console: Console) -> int:
    """Minimum width of a column: its widest number, or its longest word up to `LABEL`."""
    cells = [column.header, *column.cells]
    if is_numeric(column):
        return max(width_of(cell, console) for cell in cells)
    words = console.options.update(width=UNBOUNDED)
    return min(LABEL, max(console.measure(cell, options=words).minimum for cell in cells))


def width_of(cell: RenderableType, console: Console) -> int:
    return console.measure(cell, options=console.options.update(width=UNBOUNDED)).maximum
