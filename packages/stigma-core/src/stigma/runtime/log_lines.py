"""The line of a log event: its fields in order, without secrets, rendered once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import structlog
from opentelemetry import trace
from typing_extensions import override

from stigma.runtime.redaction import Redaction

OWN_LOGGER = "stigma"
"""Name of the logger of our own events; those of others have a field `logger`."""

_CORE_FIELDS = frozenset(
    {"error", "service", "method", "attempt", "workflow_id", "run_id", "activity_id"}
    | {"activity_type", "task_queue", "namespace", "reason", "call_name"}
)
_RECORD_ATTRIBUTES = frozenset(
    {*logging.LogRecord("", 0, "", 0, "", (), None).__dict__, "message", "asctime", "taskName"}
)


class LineFormatter(logging.Formatter):
    """Makes one line of a record, structlog's or of a logger of the standard library.

    It stands for structlog's `ProcessorFormatter`, which copies every record and its fields once
    for each processor: half of what a line costs.

    Args:
        service: name of the service, a field of every line.
        redaction: masks every field.
        render: makes the text of the fields, which are plain JSON values by then.
    """

    def __init__(
        self, service: str, redaction: Redaction, render: Callable[[dict[str, Any]], str]
    ) -> None:
        super().__init__()
        self._service = service
        self._redaction = redaction
        self._masked_name = lru_cache(maxsize=1024)(redaction.text)
        self._render = render

    @override
    def format(self, record: logging.LogRecord) -> str:
        fields = _fields_of(record)
        head = {
            "timestamp": _timestamp(record.created),
            "level": record.levelname.lower(),
            "service": self._service,
        }
        shown = self._redaction.fields({**_origin(record, fields), **fields})
        named = {self._masked_name(name): value for name, value in shown.items()}
        return self._render({**head, **named})


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields of a record, its exception as text and its event's name among them."""
    # structlog's last processor leaves the fields in the place of the message.
    message: Any = record.msg
    is_ours = isinstance(message, dict) and hasattr(record, "_logger")
    fields = dict(message) if is_ours else _fields_of_other(record)
    fields.pop("level", None)
    if "exc_info" in fields:
        structlog.processors.format_exc_info(None, "", fields)  # in place
    return fields


def _fields_of_other(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = {"event": record.getMessage()}
    if record.exc_info:
        fields["exc_info"] = record.exc_info
    if record.stack_info:
        fields["stack_info"] = record.stack_info
    given = record.__dict__.items()
    fields |= {name: value for name, value in given if name not in _RECORD_ATTRIBUTES}
    return _from_temporal(fields)


def _from_temporal(fields: dict[str, Any]) -> dict[str, Any]:
    """Turn the SDK's structured extras into fields; of core's own fields only the known pass."""
    for extra in ("temporal_activity", "temporal_workflow"):
        _add_missing(fields, fields.pop(extra, None) or {})
    fields.pop("__temporal_error_identifier", None)
    core = fields.pop("temporal_log", None)
    if core is not None:
        fields["target"] = core.target
        fields.update({k: v for k, v in core.fields.items() if k in _CORE_FIELDS})
    _add_missing(fields, structlog.contextvars.get_contextvars())
    return fields


def _add_missing(fields: dict[str, Any], others: Mapping[str, Any]) -> None:
    for name, value in others.items():
        fields.setdefault(name, value)


def _origin(record: logging.LogRecord, fields: dict[str, Any]) -> dict[str, Any]:
    """Take the event's name from fields, and return it with the logger and the trace."""
    origin: dict[str, Any] = {"event": fields.pop("event", "")}
    if record.name != OWN_LOGGER:
        origin["logger"] = record.name
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        origin["trace_id"] = trace.format_trace_id(context.trace_id)
        origin["span_id"] = trace.format_span_id(context.span_id)
    return origin


def _timestamp(created: float) -> str:
    text = datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"
