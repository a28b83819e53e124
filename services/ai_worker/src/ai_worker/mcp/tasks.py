"""Tasks that MCP servers make of calls: messages about them, and what these mean for a call.

Of version 2026-07-28 they are the extension `io.modelcontextprotocol/tasks`; version 2025-11-25 has
them itself. The `mcp` package leaves both to its users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

import mcp_types
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from typing_extensions import override

from ai_worker.mcp.questions import questions_of
from ai_worker.mcp.results import read_error, read_result
from stigma.agent.v1.agent_execution_pb2 import TOOL_OUTCOME_CANCELLED, TOOL_OUTCOME_UNKNOWN
from stigma.contracts import json_text, limits
from stigma.internal.v1.execution_pb2 import CallMcpToolResponse, McpTask

TASK = "task"
"""The type of a result that is a task."""

_MAX_ID_BYTES = 4 * 1024
_NOT_REPEATED = "The call may have happened. It was not repeated."


class _CreatedTask(mcp_types.Result):
    result_type: Literal["task"] = "task"


async def _unresolved(_: _CreatedTask, __: ClaimContext) -> mcp_types.CallToolResult:
    raise NotImplementedError("tasks are followed by the agent's workflow")


class TasksExtension(ClientExtension):
    """Tells servers that a call may become a task."""

    identifier = "io.modelcontextprotocol/tasks"

    @override
    def claims(self) -> Sequence[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=_CreatedTask, resolve=_unresolved)]


class GetTask(mcp_types.GetTaskRequest):
    """Asks for the state of a task."""

    name_param = "taskId"


class CancelTask(mcp_types.CancelTaskRequest):
    """Asks for the end of a task."""

    name_param = "taskId"


class UpdateTaskParams(mcp_types.RequestParams):
    """Responses to what a task has asked."""

    task_id: str
    input_responses: dict[str, mcp_types.ElicitResult]


class UpdateTask(mcp_types.Request[UpdateTaskParams, Literal["tasks/update"]]):
    """Gives a task the responses to what it has asked."""

    method: Literal["tasks/update"] = "tasks/update"
    params: UpdateTaskParams
    name_param = "taskId"


def read_task(found: Mapping[str, Any], max_bytes: int) -> CallMcpToolResponse:
    """Return what the state of a task, or a result that is one, means for its call.

    Args:
        found: as the server sent it.
        max_bytes: of a result's content.
    """
    match found.get("status"):
        case "completed":
            result = found.get("result")
            return read_result(result if isinstance(result, dict) else {"content": None}, max_bytes)
        case "failed":
            return read_error(f"The task failed: {_error_in(found)}", max_bytes)
        case "cancelled":
            response = read_error("The MCP server cancelled the task of the call.", max_bytes)
            response.outcome = TOOL_OUTCOME_CANCELLED
            return response
    id_ = found.get("taskId")
    if not isinstance(id_, str) or not 0 < len(id_.encode(errors="replace")) <= _MAX_ID_BYTES:
        return lost_task("The MCP server has made a task of the call, and does not say which.")
    response = CallMcpToolResponse(task=McpTask(id=json_text.replace_surrogates(id_)))
    response.task.poll_interval.FromTimedelta(_interval(found.get("pollIntervalMs")))
    if found.get("status") == "input_required":
        response.asked.extend(questions_of(found.get("inputRequests")))
    return response


def lost_task(text: str) -> CallMcpToolResponse:
    """Return the result of a call whose task is followed no more; `text` says why."""
    response = read_error(f"{text} {_NOT_REPEATED}", limits.MAX_TOOL_ERROR_BYTES)
    response.outcome = TOOL_OUTCOME_UNKNOWN
    return response


def forgotten_task() -> CallMcpToolResponse:
    """Return the result of a call whose task the server does not know any more."""
    return lost_task("The MCP server does not know the task of the call any more.")


def _error_in(found: Mapping[str, Any]) -> str:
    error = found.get("error")
    text = error.get("message") if isinstance(error, dict) else None
    return str(text or found.get("statusMessage") or "it does not say why.")


def _interval(milliseconds: Any) -> timedelta:
    given = milliseconds if isinstance(milliseconds, int | float) else 0
    most = limits.MAX_MCP_POLL_DELAY.total_seconds()
    return timedelta(seconds=round(min(max(given / 1000, 0.0), most), 3))
