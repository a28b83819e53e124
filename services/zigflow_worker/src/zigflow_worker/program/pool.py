"""Values of a run as they are carried over: each once, however many frames hold it."""

from __future__ import annotations

from collections.abc import Mapping

from zigflow_worker.expressions import JSON


class PoolWriter:
    """Collects values; the same object gets the same place."""

    def __init__(self, trace_places: Mapping[int, int] | None = None) -> None:
        self.values: list[JSON] = []
        self.trace_places = trace_places or {}
        """Places of trace entries, by their id()."""
        self._places: dict[int, int] = {}

    def add(self, value: JSON) -> int:
        """Return the place of a value."""
        place = self._places.get(id(value))
        if place is None:
            place = self._places[id(value)] = len(self.values)
            self.values.append(value)  # which also keeps the object, and so its id, alive
        return place


class PoolReader:
    """Gives back values by their places."""

    def __init__(self, values: list[JSON]) -> None:
        self._values = values

    def __getitem__(self, place: JSON) -> JSON:
        return self._values[place]  # type: ignore[index]
