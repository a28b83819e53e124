"""Tables of text that fit their terminal: no cell is ever folded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len, set_cell_size

from stigma_cli.terminal_text import escape_line

_GAP = 2
# Width of a column that may be cut, in cells: less of it says nothing.
_LEAST_CUT = 12


def table_lines(
    columns: Sequence[str], rows: Iterable[Sequence[str]], width: int | None
) -> list[str]:
    """Return the lines of a table, or, where it is too wide, each row as `name: value` lines.

    A column whose name begins with ">" is of numbers; one with "~" may be cut, which "…" shows.

    Args:
        columns: the names of the columns.
        rows: the texts of each row; what would not be shown as it is, is escaped.
        width: cells of a line; None: as many as it takes.
    """
    texts = list(rows)
    lines = table_cells(columns, texts, width)
    if not lines:
        return list(block_lines(columns, texts))
    return [(" " * _GAP).join(cells).rstrip() for cells in lines]


def table_cells(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    width: int | None,
    *,
    gap: int = _GAP,
    least: int = _LEAST_CUT,
) -> list[list[str]]:
    """Return the cells of a table's lines, as wide as their columns: names, a rule, each row.

    As for `table_lines`; `gap` cells are to be put between two columns, and none is cut to less
    than `least`. Nothing is returned where it is too wide.
    """
    names = [name.lstrip(">~") for name in columns]
    texts = [[escape_line(text) for text in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(names, *texts, strict=True)]
    if width is not None:
        room = width - gap * (len(widths) - 1)
        _cut(widths, [name.startswith("~") for name in columns], room, least)
        if sum(widths) > room:
            return []
    right = [name.startswith(">") for name in columns]
    rule = ["-" * size for size in widths]
    return [_line(cells, widths, right) for cells in (names, rule, *texts)]


def block_lines(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield each row as lines `name: value`, with an empty line between two rows."""
    names = [name.lstrip(">~").lower() for name in columns]
    for index, row in enumerate(rows):
        if index:
            yield ""
        for name, cell in zip(names, row, strict=True):
            if cell:
                yield f"{name}: {escape_line(cell)}" if name else escape_line(cell)


def _cut(widths: list[int], may_be_cut: Sequence[bool], room: int, least: int) -> None:
    """Take what is too much from the widest columns that may be cut."""
    while sum(widths) > room:
        candidates = [i for i, may in enumerate(may_be_cut) if may and widths[i] > least]
        if not candidates:
            return
        widest = max(candidates, key=widths.__getitem__)
        widths[widest] -= 1


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> list[str]:
    padded = []
    for cell, size, to_right in zip(cells, widths, right, strict=True):
        if cell_len(cell) > size:
            padded.append(f"{set_cell_size(cell, size - 1)}…")
        elif to_right:
            padded.append(" " * (size - cell_len(cell)) + cell)
        else:
            padded.append(set_cell_size(cell, size))
    return padded
