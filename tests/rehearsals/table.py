"""What was rehearsed, printed at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.stack.tables import ResultTable


@dataclass
class Row:
    """One fault, and one page that was followed to its cure. Seconds from the first command on."""

    page: str
    fault: str
    blocks: list[str] = field(default_factory=list)
    seconds: float | None = None


class RehearsalTable(ResultTable):
    """Collects a row a rehearsal."""

    name = "rehearsals"
    title = "runbooks rehearsed"

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def add(self, page: str, fault: str) -> Row:
        """Begin a row."""
        self._rows.append(Row(page, fault))
        return self._rows[-1]

    def rows(self) -> list[Any]:
        """Return the rehearsals."""
        return [asdict(row) for row in self._rows]

    @classmethod
    def lines(cls, rows: Iterable[Any]) -> Iterator[str]:
        """Yield a line a rehearsal."""
        rehearsals = [Row(**row) for row in rows]
        pages = max((len(row.page) for row in rehearsals), default=0)
        faults = max((len(row.fault) for row in rehearsals), default=0)
        yield f"{'page':<{pages}}  {'fault made':<{faults}}  cured after  blocks followed"
        for row in rehearsals:
            cured = "not cured" if row.seconds is None else f"{row.seconds:.1f} s"
            followed = ", ".join(dict.fromkeys(row.blocks))
            yield f"{row.page:<{pages}}  {row.fault:<{faults}}  {cured:>11}  {followed}"
