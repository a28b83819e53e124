"""Variants of a document that end at one task: by its output, or by its error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.conformance.specification import data_of


def with_end_at(text: str, name: str) -> str:
    """The document, whose output is that of a task as soon as it has one."""
    document = data_of(text)
    document.pop("output", None)
    for found, task in _tasks(document["do"]):
        if found == name:
            task["then"] = "end"
    return json.dumps(document)


def without_catching(text: str) -> str:
    """The document, where no task catches errors."""
    document = data_of(text)
    for _, task in _tasks(document["do"]):
        if "catch" in task:
            task["catch"] = {"errors": {"with": {"type": "urn:none"}}}
    return json.dumps(document)


def _tasks(block: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the tasks of a block, and of the blocks inside them."""
    for item in block:
        for name, task in item.items():
            yield name, task
            inner = [task.get("do"), task.get("try"), task.get("fork", {}).get("branches")]
            inner.append(task.get("catch", {}).get("do"))
            for tasks in inner:
                yield from _tasks(tasks or [])
