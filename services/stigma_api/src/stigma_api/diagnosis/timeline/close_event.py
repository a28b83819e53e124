"""The end of an execution in its timeline, from the event that closed its last run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from stigma.agent.v1.agent_execution_pb2 import AgentExecution, CallbackState
from stigma.agent.v1.agent_pb2 import FAILURE_REASON_WORKFLOW_ERROR
from stigma.contracts import errors
from stigma.contracts.executions import Execution, phase_name
from stigma_api.diagnosis.timeline.entries import usage_text
from stigma_api.executions import outcome


@dataclass(frozen=True)
class ExecutionEnd:
    """The end as an entry shows it, and the execution as it ended."""

    title: str
    detail: str
    failed: bool
    execution: Execution


async def execution_end(client: Client, started: Execution, event: HistoryEvent) -> ExecutionEnd:
    """Return the end of an execution.

    Args:
        client: decodes payloads.
        started: the execution as its memo has it.
        event: the event that closed it.
    """
    execution: Execution = await outcome.execution_at_close(client, cast("Any", started), event)
    failed = execution.status.HasField("failure")
    detail = _failure_text(execution) if failed else _success_text(execution)
    return ExecutionEnd(phase_name(execution).lower().replace("_", " "), detail, failed, execution)


def _failure_text(execution: Execution) -> str:
    failure = execution.status.failure
    if failure.message and failure.reason != FAILURE_REASON_WORKFLOW_ERROR:
        return errors.failure_message(execution)
    # What a document raises is in its author's words, and may quote its data.
    return errors.at_step(errors.reason_name(failure.reason), failure.step)


def _success_text(execution: Execution) -> str:
    parts = [usage_text(execution.status.usage)] if isinstance(execution, AgentExecution) else []
    if execution.status.HasField("callback"):
        state = CallbackState.Name(execution.status.callback.state)
        if state != "CALLBACK_STATE_DELIVERED":
            parts.append(state.removeprefix("CALLBACK_STATE_").lower().replace("_", " "))
    return ", ".join(part for part in parts if part)
