"""Runs one agent for a document, and translates its outcome."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from temporalio import workflow
from temporalio.exceptions import FailureError, is_cancelled_exception

from stigma.agent.v1.agent_execution_pb2 import Usage
from stigma.contracts import errors, json_text
from stigma.contracts.engine_summaries import Tries, agent_summary
from stigma_client.errors import (
    AgentExecutionCancelled,
    AgentExecutionError,
    AgentExecutionTimedOut,
)
from stigma_client.workflow import run_agent
from zigflow_worker.changes import JSON_DATA, WHOLE_FLOATS
from zigflow_worker.errors import CONFIGURATION, ErrorType, WorkflowError
from zigflow_worker.expressions import JSON
from zigflow_worker.program.effects import EffectError
from zigflow_worker.tasks import agent_messages

AGENT_FAILED = ErrorType.standard("agent/failed", 502, "Agent Failed")
AGENT_TIMEOUT = ErrorType.standard("agent/timeout", 408, "Agent Timed Out")
AGENT_CANCELLED = ErrorType.standard("agent/cancelled", 499, "Agent Cancelled")


async def run_agent_execution(
    arguments: Mapping[str, Any], schema: JSON, pointer: str, tries: Tries | None
) -> JSON:
    """Run an agent; return its `output`, and `agent` for `$task`.

    Args:
        arguments: the task's `with`, evaluated.
        schema: of the output; None: any.
        pointer: JSON pointer of the task, by which people know the call.
        tries: of the task, likewise.

    Raises:
        EffectError: the agent did not complete.
        WorkflowError: it was not started: the arguments are wrong, or its worker failed.
    """
    problem = json_text.problem_in(dict(arguments))
    if problem and workflow.patched(JSON_DATA):
        raise WorkflowError.of(CONFIGURATION, f"the arguments are not JSON: {problem}")
    try:
        request = _request_of(arguments, schema)
    except (ValueError, TypeError) as error:
        raise WorkflowError.of(CONFIGURATION, str(error)) from None
    except RecursionError:
        raise WorkflowError.of(CONFIGURATION, "the arguments are nested too deeply") from None
    try:
        summary = agent_summary(request["agent"], pointer, tries)
        result = await run_agent(**request, summary=summary)
    except AgentExecutionError as error:
        raise error_of(error) from None
    except FailureError as error:
        if is_cancelled_exception(error):
            raise WorkflowError.of(AGENT_CANCELLED, "the call was cancelled") from None
        raise WorkflowError.of(AGENT_FAILED, error.message) from None
    return {
        "output": result.output,
        "agent": {"executionId": result.execution_id, **_usage(result.usage)},
    }


def _request_of(arguments: Mapping[str, Any], schema: JSON) -> agent_messages.AgentRequest:
    try:
        return agent_messages.request_of(arguments, schema, floats=False)
    except ValueError:
        request = agent_messages.request_of(arguments, schema)
        if not workflow.patched(WHOLE_FLOATS):
            raise
        return request


def error_of(error: AgentExecutionError) -> EffectError:
    """Return the error a document sees; its detail names the reason."""
    error_type = AGENT_FAILED
    if isinstance(error, AgentExecutionTimedOut):
        error_type = AGENT_TIMEOUT
    elif isinstance(error, AgentExecutionCancelled):
        error_type = AGENT_CANCELLED
    detail = errors.with_reason(error.message, error.reason)
    mapped = EffectError(WorkflowError.of(error_type, detail).problem)
    mapped.execution_id = error.execution_id
    return mapped


def _usage(usage: Usage) -> dict[str, JSON]:
    return {
        "usage": {
            "inputTokens": usage.input_tokens,
            "outputTokens": usage.output_tokens,
            "modelCalls": usage.model_calls,
        },
        "cost": usage.cost_usd,
    }
