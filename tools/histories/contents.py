"""Contents of histories, and those that a release's histories have to have."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from temporalio.api.common.v1 import Payloads
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory

from stigma.agent.v1.agent_execution_pb2 import SessionPolicy
from stigma.agent.v1.agent_pb2 import AgentLimits, ContextStrategy, Tool
from stigma.contracts import activities, engine_calls, workflows
from stigma.contracts.activities import CALL_AGENT
from stigma_client.activities import CALL_WORKFLOW, CANCEL_AGENT, CANCEL_WORKFLOW
from zigflow_worker import changes
from zigflow_worker.activities import interfaces
from zigflow_worker.compilation.kind import TaskKind
from zigflow_worker.tasks import registry

_CHANGE_MARKER = "core_patch"

UNRECORDED = {
    "change: document-weight": "a document beyond its limit is larger than all histories together",
    "change: few-short-waits": "500 short waits at a time are a larger history than all others",
    "change: utf8-sizes": "data beyond 1.5 MiB is larger than all histories together",
    "limit: timeout": "it is the deadline: see the scenarios that time out",
}
"""Names that no history has, each with the reason."""


def contents(paths: Iterable[Path]) -> set[str]:
    """Return the names in the histories of these files, each as `KIND: NAME`."""
    histories = (WorkflowHistory.from_json(path.stem, path.read_text()) for path in paths)
    return {name for history in histories for event in history.events for name in _names(event)}


def declared() -> set[str]:
    """Return the names of all that a release's workflows have in common with its services."""
    calls = (CALL_AGENT, CANCEL_AGENT, CALL_WORKFLOW, CANCEL_WORKFLOW)
    names = {f"activity: {name}" for name in calls}
    for module in (activities, engine_calls, interfaces):
        names |= {f"activity: {each.name}" for each in _definitions(module, "activity")}
    for each in _definitions(workflows, "workflow"):
        names |= {f"workflow: {each.name}"}
        names |= {f"signal: {name}" for name in each.signals}
        names |= {f"update: {name}" for name in each.updates}
    identifiers = {value for name, value in vars(changes).items() if name.isupper()}
    return names | {f"change: {identifier}" for identifier in identifiers}


def features() -> set[str]:
    """Return what the code has one of each: scenarios say which of them they record."""
    limits = AgentLimits.DESCRIPTOR.fields_by_name
    return {
        *_task_kinds(),
        *(f"tool: {kind.name}" for kind in Tool.DESCRIPTOR.oneofs_by_name["kind"].fields),
        *(f"context: {name}" for name in _values(ContextStrategy, "CONTEXT_STRATEGY_")),
        *(f"session: {name}" for name in _values(SessionPolicy, "SESSION_POLICY_")),
        *(f"limit: {name}" for name in limits),
    }


def _task_kinds() -> set[str]:
    kinds = [
        value
        for value in vars(registry).values()
        if isinstance(value, type) and issubclass(value, TaskKind) and value is not TaskKind
    ]
    variants = {"call": "call function"}
    return {
        f"task: {kind.keyword} {kind.variant}"
        if kind.variant
        else f"task: {variants.get(kind.keyword, kind.keyword)}"
        for kind in kinds
    }


def _values(enum: Any, prefix: str) -> set[str]:
    return {name.removeprefix(prefix) for name, number in enum.items() if number}


def _definitions(module: ModuleType, what: str) -> list[Any]:
    """Return the SDK's definitions of the workflows or activities that a module declares."""
    attribute = f"__temporal_{what}_definition"
    declaring = [value for value in vars(module).values() if isinstance(value, type)]
    members = [member for each in declaring for member in (each, *vars(each).values())]
    return [vars(each)[attribute] for each in members if attribute in getattr(each, "__dict__", ())]


def _names(event: HistoryEvent) -> set[str]:
    match event.WhichOneof("attributes"):
        case "workflow_execution_started_event_attributes":
            started = event.workflow_execution_started_event_attributes
            return {f"workflow: {started.workflow_type.name}"}
        case "activity_task_scheduled_event_attributes":
            scheduled = event.activity_task_scheduled_event_attributes
            return {f"activity: {scheduled.activity_type.name}"}
        case "workflow_execution_signaled_event_attributes":
            return {f"signal: {event.workflow_execution_signaled_event_attributes.signal_name}"}
        case "workflow_execution_update_accepted_event_attributes":
            accepted = event.workflow_execution_update_accepted_event_attributes
            return {f"update: {accepted.accepted_request.input.name}"}
        case "marker_recorded_event_attributes":
            marker = event.marker_recorded_event_attributes
            return set(_names_of_marker(marker.marker_name, dict(marker.details)))
    return set()


def _names_of_marker(name: str, details: dict[str, Payloads]) -> Iterable[str]:
    """Yield the change or the local activity that the SDK has put into a marker."""
    for payloads in details.values():
        for payload in payloads.payloads:
            try:
                value = json.loads(payload.data)
            except ValueError:
                continue
            if name == _CHANGE_MARKER:
                yield f"change: {value['id']}"
            elif isinstance(value, dict) and "activity_type" in value:
                yield f"activity: {value['activity_type']}"
