"""Pending inputs of calls: what people are shown of a call that waits for them."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow

from stigma.agent.v1.agent_execution_pb2 import PendingInput, PendingInputKind, ToolCall
from stigma.contracts import approvals, pending_inputs
from stigma_orchestrator.agents.step import StepContext


def input_id(
    context: StepContext, call: ToolCall, kind: PendingInputKind.ValueType, number: int = 0
) -> str:
    """Return the id of what a call waits for; `number` is of one of several."""
    root = context.lineage.root
    return pending_inputs.input_id(kind, call.call_id, context.execution_id, root, number)


def new_input(
    context: StepContext,
    call: ToolCall,
    id_: str,
    kind: PendingInputKind.ValueType,
    expires_after: timedelta,
) -> PendingInput:
    """Return a pending input of a call, that expires by the execution's deadline at the latest."""
    now = workflow.now()
    found = PendingInput(
        id=id_,
        kind=kind,
        call_id=call.call_id,
        tool=call.name,
        arguments_digest=approvals.digest(call.arguments_json),
        execution_id=context.execution_id,
        agent_id=context.spec.agent_id,
        path=context.lineage.path,
    )
    found.request_time.FromDatetime(now)
    found.expire_time.FromDatetime(min(now + expires_after, context.deadline))
    return found
