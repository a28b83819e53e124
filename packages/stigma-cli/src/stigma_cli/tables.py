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
    names = [name.lstrip(">~") for name in columns]
    texts = [[escape_line(text) for text in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(names, *texts, strict=True)]
    if width is not None:
        _cut(widths, [name.startswith("~") for name in columns], width)
        if _total(widths) > width:
            return list(_blocks(names, texts))
    right = [name.startswith(">") for name in columns]
    rule = ["-" * size for size in widths]
    return [_line(cells, widths, right) for cells in (names, rule, *texts)]


def _cut(widths: list[int], may_be_cut: Sequence[bool], width: int) -> None:
    """Take what is too much from the widest columns that may be cut."""
    while _total(widths) > width:
        candidates = [i for i, may in enumerate(may_be_cut) if may and widths[i] > _LEAST_CUT]
        if not candidates:
            return
        widest = max(candidates, key=widths.__getitem__)
        widths[widest] -= 1


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = []
    for cell, size, to_right in zip(cells, widths, right, strict=True):
        if cell_len(cell) > size:
            padded.append(f"{set_cell_size(cell, size - 1)}…")
        elif to_right:
            padded.append(" " * (size - cell_len(cell)) + cell)
        else:
            padded.append(set_cell_size(cell, size))
    return (" " * _GAP).join(padded).rstrip()


def _blocks(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for index, row in enumerate(rows):
        if index:
            yield ""
        for name, cell in zip(names, row, strict=True):
            if cell:
                yield f"{name.lower()}: {cell}" if name else cell
