"""Histories of workflows as data that is kept, for later code to replay."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Any

from temporalio.client import WorkflowHistory

_OF_A_MACHINE = frozenset({"identity", "stackTrace"})


def as_data(history: WorkflowHistory) -> str:
    """A history as JSON that can be kept: without what is of one machine, and replay reads not."""
    return json.dumps(_kept(json.loads(history.to_json())), indent=1) + "\n"


def readable(data: str) -> str:
    """Return the text of a kept history with its payloads decoded, to search in it."""
    return "\n".join(_texts(json.loads(data)))


def _texts(value: Any) -> Iterator[str]:
    match value:
        case dict():
            for key, one in value.items():
                yield key
                yield from _texts(one)
        case list():
            for one in value:
                yield from _texts(one)
        case str():
            yield value
            try:
                yield base64.b64decode(value, validate=True).decode(errors="replace")
            except (binascii.Error, ValueError):
                return


def _kept(value: Any) -> Any:
    match value:
        case {"kind": "TASK_QUEUE_KIND_STICKY"}:  # its name has the process and the machine
            return {key: one for key, one in value.items() if key != "name"}
        case dict():
            return {key: _kept(one) for key, one in value.items() if key not in _OF_A_MACHINE}
        case list():
            return [_kept(one) for one in value]
    return value
