"""Results that the model is told of calls that did not succeed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.exceptions import ApplicationError, TerminatedError, TimeoutType
from temporalio.exceptions import TimeoutError as TemporalTimeoutError

from stigma.agent.v1.agent_execution_pb2 import ToolCall, ToolOutcome
from stigma.agent.v1.agent_pb2 import (
    ActivityTool,
    McpTool,
    NexusTool,
    Tool,
    ToolPolicy,
    WorkflowTool,
)
from stigma.contracts import tool_results

ONCE = "The call may have happened. It was not repeated."
TWICE = "The call may have happened, even more than once: it was tried up to 2 times."
REPEATED = (
    "The call may have happened, even more than once: "
    "Temporal repeats a request that the operation does not answer."
)
NO_ACTIVITY = ApplicationError("Activity function x is not registered", type="NotFoundError")


def tool(kind: str, *, safe: bool = False) -> Tool:
    policy = ToolPolicy(retry_safe=safe, attempts=2 if safe else 0)
    policy.timeout.FromTimedelta(timedelta(minutes=2))
    policy.attempt_timeout.FromTimedelta(timedelta(seconds=1.5))
    policy.start_timeout.FromTimedelta(timedelta(seconds=20))
    kinds = {
        "activity": Tool(activity=ActivityTool(type="Find", task_queue="orders")),
        "workflow": Tool(workflow=WorkflowTool(type="Ship", task_queue="orders")),
        "nexus": Tool(nexus=NexusTool(endpoint="e", service="s", operation="o")),
        "mcp": Tool(mcp=McpTool(server="notes", tools=["find"])),
    }
    found = kinds[kind]
    found.policy.CopyFrom(policy)
    return found


def timed_out(kind: TimeoutType | None) -> TemporalTimeoutError:
    return TemporalTimeoutError("t", type=kind, last_heartbeat_details=[])


@pytest.mark.parametrize(
    ("of", "error", "told"),
    [
        (
            tool("activity"),
            timed_out(TimeoutType.START_TO_CLOSE),
            f"The call took longer than 1.5 s. {ONCE}",
        ),
        (
            tool("activity"),
            timed_out(TimeoutType.SCHEDULE_TO_CLOSE),
            f"The call took longer than 120 s. {ONCE}",
        ),
        (
            tool("mcp", safe=True),
            timed_out(TimeoutType.START_TO_CLOSE),
            f"An attempt of the call took longer than 1.5 s. {TWICE}",
        ),
        (
            tool("mcp", safe=True),
            timed_out(TimeoutType.SCHEDULE_TO_CLOSE),
            f"The call took longer than 120 s. {TWICE}",
        ),
        (
            tool("activity", safe=True),
            timed_out(TimeoutType.HEARTBEAT),
            f"The worker of the call was lost. {TWICE}",
        ),
        # The SDK and history give a child's timeout different types.
        (
            tool("workflow"),
            timed_out(TimeoutType.START_TO_CLOSE),
            f"The call took longer than 120 s. {ONCE}",
        ),
        (tool("workflow"), timed_out(None), f"The call took longer than 120 s. {ONCE}"),
        (
            tool("workflow", safe=True),
            TerminatedError("t"),
            f"The call ended by TerminatedError. {TWICE}",
        ),
        (
            tool("nexus"),
            timed_out(TimeoutType.SCHEDULE_TO_CLOSE),
            f"The call took longer than 120 s. {REPEATED}",
        ),
        (
            tool("nexus", safe=True),
            timed_out(TimeoutType.START_TO_CLOSE),
            f"The call took longer than 120 s. {REPEATED}",
        ),
        (
            tool("mcp", safe=True),
            ApplicationError("It is silent.", type=tool_results.MCP_CALL_LOST),
            f"It is silent. {TWICE}",
        ),
    ],
)
def test_a_lost_call_says_which_limit_it_passed_and_how_often_it_may_have_happened(
    of: Tool, error: BaseException, told: str
) -> None:
    result = tool_results.of_failure(ToolCall(call_id="1-1", name="x"), of, error)
    assert ToolOutcome.Name(result.outcome) == "TOOL_OUTCOME_UNKNOWN"
    assert result.content == told


@pytest.mark.parametrize(
    ("of", "error", "told"),
    [
        (
            tool("activity"),
            timed_out(TimeoutType.SCHEDULE_TO_START),
            "No worker of task queue 'orders' took the call within 20 s.",
        ),
        (
            tool("mcp"),
            timed_out(TimeoutType.SCHEDULE_TO_START),
            "No worker took the call within 20 s.",
        ),
        (
            tool("activity"),
            NO_ACTIVITY,
            "The worker of task queue 'orders' has no activity 'Find'.",
        ),
        (tool("mcp"), NO_ACTIVITY, "The AI worker cannot call MCP servers."),
    ],
)
def test_a_call_that_was_not_taken_says_by_whom(of: Tool, error: BaseException, told: str) -> None:
    result = tool_results.of_failure(ToolCall(call_id="1-1", name="x"), of, error)
    assert ToolOutcome.Name(result.outcome) == "TOOL_OUTCOME_NOT_RUN"
    assert result.content == f"{told} The call has not happened."


def test_an_earlier_attempt_of_a_safe_call_may_have_happened_elsewhere() -> None:
    of = tool("activity", safe=True)
    result = tool_results.of_failure(ToolCall(call_id="1-1", name="x"), of, NO_ACTIVITY)
    assert result.content.endswith("has no activity 'Find'. The last attempt has not happened.")
