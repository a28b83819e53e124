"""Histories of workflows as data that is kept, for later code to replay."""

from __future__ import annotations

import json
from typing import Any

from temporalio.client import WorkflowHistory

_OF_A_MACHINE = frozenset({"identity", "stackTrace"})


def as_data(history: WorkflowHistory) -> str:
    """A history as JSON that can be kept: without what is of one machine, and replay reads not."""
    return json.dumps(_kept(json.loads(history.to_json())), indent=1) + "\n"


def _kept(value: Any) -> Any:
    match value:
        case dict():
            return {key: _kept(one) for key, one in value.items() if key not in _OF_A_MACHINE}
        case list():
            return [_kept(one) for one in value]
    return value
