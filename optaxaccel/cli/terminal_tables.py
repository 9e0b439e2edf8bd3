"""Tables that fit the terminal: columns are left out, and no word is broken, where they would not."""

from collections.abc import Collection, Sequence
from typing import Any

from optaxaccel.cli.terminal import console

_FRAME = 3  # characters of a column's edge and padding; the table has one edge more


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, the more important columns first."""
    _print(title, columns, rows, left=columns)


def print_table(table: Any) -> None:
    """Print a table of a report."""
    _print(table.title, table.columns, table.rows, left=table.left, note=table.note)


def fitted(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return the widths of the columns that fit; the last ones are left out where their words would have to be broken.

    Example:
      >>> fitted(["name", "what it is"], [["pal", "a line search"]], 80)
      [4, 13]
      >>> fitted(["name", "what it is"], [["pal", "a line search"]], 20)
      [4, 9]
      >>> fitted(["name", "what it is"], [["pal", "a line search"]], 15)
      [4]
    """
    cells = [[column, *(row[k] for row in rows)] for k, column in enumerate(columns)]
    least = [max((len(word) for cell in column for word in cell.split(" ")), default=1) for column in cells]
    natural = [max(len(line) for cell in column for line in cell.split("\n")) for column in cells]
    while len(least) > 1 and sum(least) + _FRAME * len(least) + 1 > width:
        least.pop()
    spare = max(0, width - sum(least) - _FRAME * len(least) - 1)
    wanting = sorted(range(len(least)), key=lambda k: natural[k] - least[k])
    for place, k in enumerate(wanting):
        more = min(natural[k] - least[k], spare // (len(wanting) - place))
        least[k], spare = least[k] + more, spare - more
    return least


def _print(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, left: Collection[str], note: str = ""
) -> None:
    from rich.table import Table
    from rich.text import Text

    screen = console()
    rows = [[cell.replace(" ± ", "\u00a0±\u00a0") for cell in row] for row in rows]
    widths = fitted(columns, rows, screen.width)
    missing = ", ".join(columns[len(widths) :])
    if missing:
        note = f"{note}\n" if note else ""
        note += f"Left out, since {screen.width} characters have no room for them: {missing}."
    made = Table(
        title=Text(title),
        title_justify="left",
        title_style="bold",
        caption=Text(note) if note else None,
        caption_justify="left",
    )
    for column, width in zip(columns, widths, strict=False):
        made.add_column(column, justify="left" if column in left else "right", overflow="fold", width=width)
    for row in rows:
        made.add_row(*map(Text, row[: len(widths)]))  # and no markup: a label may hold brackets
    screen.print(made)
