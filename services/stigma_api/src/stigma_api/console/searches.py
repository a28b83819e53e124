"""The search form of executions, and its fields in the API's filter grammar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
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


@dataclass(frozen=True)
class Search:
    """The fields of the form; an empty one matches anything."""

    kind: str = ""
    phase: str = ""
    name: str = ""
    """Of the agent or workflow."""
    session: str = ""
    filter_text: str = ""
    """More conditions, in the API's filter grammar."""

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
        if self.filter_text:
            conditions.append(self.filter_text)
        return " AND ".join(conditions)

    def query(self, **more: str) -> str:
        """Format the query of this search's page."""
        values = {field.name: getattr(self, field.name) for field in fields(self)} | more
        return urlencode({name: value for name, value in values.items() if value})
