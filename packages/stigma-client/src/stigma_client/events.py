"""Log events of the hand-off: one a step, with the ids that join the services' logs.

The event's name is the whole message; everything else is in the record's attributes (`extra`), so
that a JSON formatter prints one searchable line.
"""

from __future__ import annotations

import logging
from typing import Any

from opentelemetry import trace
from temporalio import activity, workflow

_LOGGER = logging.getLogger("stigma_client")
_ON_SPANS = ("execution_id", "request_id", "callback_fingerprint")


def log_in_activity(event: str, /, **fields: Any) -> None:
    """Log one step of the running activity."""
    info = activity.info()
    extra = {
        "workflow_id": info.workflow_id,
        "run_id": info.workflow_run_id,
        "activity_id": info.activity_id,
        "attempt": info.attempt,
        **fields,
    }
    ids = {f"stigma.{name}": fields[name] for name in _ON_SPANS if fields.get(name)}
    trace.get_current_span().set_attributes(ids)
    _LOGGER.info(event, extra=extra)


def log_in_workflow(event: str, /, *, level: int = logging.INFO, **fields: Any) -> None:
    """Log one step of the running workflow, once: not while its history is replayed."""
    if workflow.unsafe.is_replaying():
        return
    info = workflow.info()
    extra = {"workflow_id": info.workflow_id, "run_id": info.run_id, **fields}
    with workflow.unsafe.sandbox_unrestricted():
        _LOGGER.log(level, event, extra=extra)
