"""Requests that start once more what an execution was started with."""

from __future__ import annotations

from typing import Any

from stigma.agent.v1.agent_execution_pb2 import AgentExecutionSpec
from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.workflow.v1.workflow_execution_service_pb2 import StartWorkflowRequest
from stigma_api.kinds import ExecutionSpec, StartRequest

# A turn of a session would change its conversation, and no caller waits.
_REPEATED = ("message", "input_json", "env", "config", "labels", "partial_text")


def repeated_request(
    recorded: ExecutionSpec, *, request_id: str, newest_version: bool, message: str | None
) -> StartRequest:
    """Return a request for the same definition with the same task, without session and caller.

    Args:
        recorded: of the execution, whole.
        request_id: of the new request.
        newest_version: of a registered definition, instead of the version that ran.
        message: instead of the recorded one; None: that.
    """
    is_agent = isinstance(recorded, AgentExecutionSpec)
    given = {field.name: value for field, value in recorded.ListFields()}
    copied: dict[str, Any] = {name: given[name] for name in _REPEATED if name in given}
    copied["request_id"] = request_id
    if is_agent and message is not None:
        copied["message"] = message
    kind = "agent" if is_agent else "workflow"
    definition_id = str(given.get(f"{kind}_id", ""))
    if definition_id:
        name = definition_id.partition("@")[0]
        copied[f"{kind}_id"] = name if newest_version else definition_id
    else:
        copied["spec"] = given[kind]
    return StartAgentRequest(**copied) if is_agent else StartWorkflowRequest(**copied)
