"""The search form of executions, and its fields in the API's filter grammar."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from stigma.contracts.executions import Kind

PHASES = (
    "PENDING",
    "RUNNING",
    "INPUT_REQUIRED",
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "TIMED_OUT",
)
RANGES = {
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
"""Times before now within which an execution was started, by their value in the form."""

RANGE_NAMES = {
    "1h": "the last hour",
    "24h": "the last 24 hours",
    "7d": "the last 7 days",
    "30d": "the last 30 days",
}

# A condition has an operator; ids and names have none.
_CONDITION = re.compile(r"[<>=]")


@dataclass(frozen=True)
class Search:
    """The fields of the form; an empty one matches anything."""

    kind: str = ""
    phase: str = ""
    name: str = ""
    """Of the agent or workflow."""
    session: str = ""
    filter_text: str = ""
    """More conditions, in the API's filter grammar, or an id."""
    range: str = ""
    """A key of `RANGES`."""
    at: str = ""
    """End of the range on pages after the first, which are of one list: RFC 3339."""

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> Search:
        """Parse a page's query."""
        return cls(**{field.name: query.get(field.name, "").strip() for field in fields(cls)})

    @property
    def kinds(self) -> Sequence[Kind]:
        """The kinds of executions to list."""
        return [kind for kind in Kind if self.kind in {"", kind}] or list(Kind)

    @property
    def is_empty(self) -> bool:
        """Whether it matches everything."""
        return self == Search()

    @property
    def wanted_id(self) -> str:
        """The text of the box when it is no filter: an id; empty otherwise."""
        return "" if _CONDITION.search(self.filter_text) else self.filter_text

    @property
    def end(self) -> datetime:
        """The end of the range: now, on the first page."""
        try:
            given = datetime.fromisoformat(self.at)
        except ValueError:
            given = None
        if given is not None and given.tzinfo:
            return given
        # By the minute: pages of a list, and its refreshes, are of the same range.
        return datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)

    @property
    def fixed(self) -> Search:
        """The same search, whose range does not move on."""
        return replace(self, at=self.end.isoformat()) if self.range in RANGES else self

    @property
    def newest(self) -> Search:
        """The same search, whose range ends now."""
        return replace(self, at="")

    def filter(self, kind: Kind) -> str:
        """Return the filter for one kind; the API refuses values that a filter cannot have."""
        conditions = [
            f'{field} = "{value}"'
            for field, value in (
                ("phase", self.phase),
                (kind, self.name),
                ("session", self.session),
            )
            if value
        ]
        if span := RANGES.get(self.range):
            conditions.append(f'start_time >= "{(self.end - span).isoformat()}"')
        if self.filter_text:
            conditions.append(self.filter_text)
        return " AND ".join(conditions)

    def query(self, **more: str) -> str:
        """Format the query of this search's page."""
        values = {field.name: getattr(self, field.name) for field in fields(self)} | more
        return urlencode({name: value for name, value in values.items() if value})
