"""Calls and timers of a document, as text for people."""

from __future__ import annotations

from stigma.contracts.engine_summaries import TimerKind, TimerUse, Tries
from stigma.workflow.v1.workflow_execution_service_pb2 import (
    DOCUMENT_CALL_KIND_AGENT,
    DOCUMENT_CALL_KIND_GRPC,
    DOCUMENT_CALL_KIND_HTTP,
    DOCUMENT_CALL_KIND_OPENAPI,
    DOCUMENT_CALL_KIND_RESOURCE,
    DOCUMENT_TIMER_KIND_RETRY,
    DOCUMENT_TIMER_KIND_TIMEOUT,
    DOCUMENT_TIMER_KIND_WAIT,
    DocumentCall,
    DocumentCallEnded,
    DocumentCallOutcome,
    DocumentTimer,
    WatchWorkflowExecutionResponse,
)
from stigma_cli.output import as_time

_TITLES = {
    DOCUMENT_CALL_KIND_AGENT: "call of agent",
    DOCUMENT_CALL_KIND_HTTP: "HTTP call",
    DOCUMENT_CALL_KIND_OPENAPI: "OpenAPI call",
    DOCUMENT_CALL_KIND_GRPC: "gRPC call",
    DOCUMENT_CALL_KIND_RESOURCE: "fetch for",
}
_TIMER_KINDS = {
    DOCUMENT_TIMER_KIND_WAIT: TimerKind.WAIT,
    DOCUMENT_TIMER_KIND_RETRY: TimerKind.RETRY,
    DOCUMENT_TIMER_KIND_TIMEOUT: TimerKind.TIMEOUT,
}
_EVENTS = frozenset({"call_started", "call_ended", "timer_started", "timer_ended"})


def is_of_document(event: WatchWorkflowExecutionResponse) -> bool:
    """Return whether an event is about a call or a timer of the document."""
    return event.WhichOneof("event") in _EVENTS


def document_text(event: WatchWorkflowExecutionResponse) -> str:
    """Return a line for an event about a call or a timer; "" for another."""
    match event.WhichOneof("event"):
        case "call_started":
            return _title(event.call_started.call)
        case "call_ended":
            return f"{_title(event.call_ended.call)}: {_outcome(event.call_ended)}"
        case "timer_started":
            return _timer(event.timer_started.timer)
        case "timer_ended":
            ended = "fired" if event.timer_ended.fired else "is not waited for any more"
            return f"{_timer(event.timer_ended.timer)} {ended}"
    return ""


def _title(call: DocumentCall) -> str:
    is_agent = call.kind == DOCUMENT_CALL_KIND_AGENT
    agent = call.agent or ("(inline)" if is_agent else "")
    title = " ".join(filter(None, (_TITLES.get(call.kind, "call"), agent, call.task)))
    return f"{title}, {Tries(call.try_number, call.max_tries)}" if call.try_number else title


def _outcome(ended: DocumentCallEnded) -> str:
    """Return how a call ended: outcome, error, status, attempt from the second on, execution."""
    known = ended.outcome in DocumentCallOutcome.values()
    name = DocumentCallOutcome.Name(ended.outcome) if known else str(ended.outcome)
    parts = (
        name.removeprefix("DOCUMENT_CALL_OUTCOME_"),
        ended.error,
        f"status {ended.status}" if ended.status else "",
        f"attempt {ended.attempt}" if ended.attempt > 1 else "",
        f"execution {ended.execution_id}" if ended.execution_id else "",
    )
    return ", ".join(part for part in parts if part)


def _timer(timer: DocumentTimer) -> str:
    parts = (
        f"timer up to {as_time(timer.fire_time)}",
        _use(timer),
        f"after the failed {_title(timer.after)}" if timer.HasField("after") else "",
    )
    return " ".join(filter(None, parts))


def _use(timer: DocumentTimer) -> str:
    kind = _TIMER_KINDS.get(timer.kind)
    if kind is None:
        return ""
    tries = Tries(timer.try_number, timer.max_tries) if timer.try_number else None
    return str(TimerUse(kind, timer.task, tries))
