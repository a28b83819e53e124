"""A service's log file: JSON lines, read as they come."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.stack.waiting import eventually

Event = dict[str, Any]


class ServiceLog:
    """What one process wrote to stdout and stderr. The file outlives the process and restarts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_to = 0
        self._events: list[Event] = []

    def events(self, event: str | None = None, *, since: int = 0, **fields: Any) -> list[Event]:
        """The events of that name with those fields, from the ``since``-th event on."""
        self._read()
        return [
            line
            for line in self._events[since:]
            if (event is None or line.get("event") == event)
            and all(line.get(name) == value for name, value in fields.items())
        ]

    def position(self) -> int:
        """How many events there are; pass it as ``since`` to see only later ones."""
        self._read()
        return len(self._events)

    async def wait_for(
        self,
        event: str,
        *,
        since: int = 0,
        within: timedelta = timedelta(seconds=60),
        **fields: Any,
    ) -> Event:
        """Return the first such event as soon as it is written."""
        found = await eventually(
            lambda: self.events(event, since=since, **fields),
            within=within,
            what=lambda: f"event {event} {fields} in {self.path.name}; its end:\n{self.tail()}",
        )
        return found[0]

    def raw(self) -> bytes:
        """Everything that was written, for searches that trust no format."""
        return self.path.read_bytes() if self.path.exists() else b""

    def tail(self, lines: int = 40) -> str:
        """The last lines, as text."""
        return "\n".join(self.raw().decode(errors="replace").splitlines()[-lines:])

    def _read(self) -> None:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read_to)
            complete = file.read().rpartition(b"\n")[0]
        self._read_to += len(complete) + (1 if complete else 0)
        self._events += [event for line in complete.splitlines() if (event := _parse(line))]


def _parse(line: bytes) -> Event | None:
    """One line's event; None for what is no JSON object, such as a traceback at start."""
    try:
        parsed = json.loads(line)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None
