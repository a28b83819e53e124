"""Documents that `benchmarks.workflows` measures, each beside the workflow written by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from benchmarks.workflows_native import (
    AccumulateThousand,
    ForkHundred,
    ForThousand,
    HttpOnce,
    SetTen,
)

HEADER = {"dsl": "1.0.3", "namespace": "benchmark", "version": "1.0.0"}
ITEMS = list(range(1_000))
NAMES = ("set-10", "for-1000", "accumulate-1000", "fork-100", "http")


@dataclass(frozen=True)
class Case:
    """One piece of work, done by a document and by a workflow written by hand."""

    name: str
    tasks: list[dict[str, Any]]
    data: dict[str, Any]
    native: type

    @property
    def document(self) -> str:
        """The text of the document."""
        return json.dumps({"document": {**HEADER, "name": self.name}, "do": self.tasks})


def cases(url: str) -> list[Case]:
    """Return all cases; `url` answers a GET with JSON."""
    return [
        Case("set-10", [_set(number) for number in range(10)], {"count": 0}, SetTen),
        Case(
            "for-1000", [_for("${ {item: $item, index: $index} }")], {"items": ITEMS}, ForThousand
        ),
        Case("accumulate-1000", _accumulating(), {"items": ITEMS}, AccumulateThousand),
        Case("fork-100", [_fork()], {"count": 1}, ForkHundred),
        Case("http", [_call("${ .url }")], {"url": url}, HttpOnce),
    ]


def _set(number: int) -> dict[str, Any]:
    return {f"set{number}": {"set": {"count": "${ .count + 1 }", "last": f"set{number}"}}}


def _for(value: str) -> dict[str, Any]:
    return {"each": {"for": {"in": "$input.items"}, "do": [{"one": {"set": value}}]}}


def _accumulating() -> list[dict[str, Any]]:
    loop = {
        "for": {"in": "$input.items"},
        "do": [{"add": {"set": {"found": "${ (.found // []) + [{item: $item}] }"}}}],
    }
    return [{"each": loop}]


def _fork() -> dict[str, Any]:
    branches = [
        {f"branch{number}": {"set": {"branch": number, "count": "${ .count }"}}}
        for number in range(100)
    ]
    return {"fork": {"fork": {"branches": branches}}}


def _call(url: str) -> dict[str, Any]:
    return {"get": {"call": "http", "with": {"method": "get", "endpoint": url}}}
