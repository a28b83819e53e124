"""`run_agent` and `run_workflow`: what a workflow awaits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from temporalio import workflow as temporal

from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.agent.v1.agent_execution_service_pb2 import CancelAgentExecutionRequest
from stigma.agent.v1.agent_pb2 import AgentConfig, AgentSpec
from stigma.contracts import limits
from stigma.contracts.executions import Kind
from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution
from stigma.workflow.v1.workflow_execution_service_pb2 import CancelWorkflowExecutionRequest
from stigma.workflow.v1.workflow_pb2 import WorkflowConfig, WorkflowSpec
from stigma_client.activities import AgentActivities, WorkflowActivities
from stigma_client.calls import Call
from stigma_client.requests import start_agent_request, start_workflow_request
from stigma_client.results import AgentResult, WorkflowResult

_CANCELLED = "the calling workflow was cancelled"


async def run_agent(
    agent: str = "",
    message: str = "",
    *,
    input: Any = None,  # noqa: A002 - the protocol's name
    spec: AgentSpec | None = None,
    env: Mapping[str, str] | None = None,
    config: AgentConfig | None = None,
    session_id: str = "",
    labels: Mapping[str, str] | None = None,
    timeout: timedelta = limits.DEFAULT_TIMEOUT,
    heartbeat_timeout: timedelta = limits.DEFAULT_HEARTBEAT_TIMEOUT,
    request_id: str | None = None,
) -> AgentResult:
    """Run an agent from a workflow and wait for its outcome, holding no worker meanwhile.

    The workflow's worker needs `StigmaPlugin`. Cancelling the workflow, or the task that awaits
    this, cancels the agent.

    Args:
        agent: name, or name@version, of a registered agent.
        message: the task in words; at most 1 MiB.
        input: the task's data: whatever the workflow's payload converter turns into JSON; at most
            1 MiB encoded.
        spec: an inline agent, instead of `agent`; needs the permission agents.inline.
        env: values of the env variables that the agent names.
        config: model, temperature, limits: may tighten what the agent allows, never loosen it.
        session_id: groups executions that belong together.
        labels: free labels, to find the execution by.
        timeout: how long the agent may take, workers' outages included.
        heartbeat_timeout: within what time the loss of this worker or of the agent is noticed.
        request_id: idempotency key; a random one, stable over retries and replays, by default.

    Returns:
        The result of an agent that completed.

    Raises:
        AgentExecutionFailed: the agent failed, could not be started, or the request or result is
            too large.
        AgentExecutionTimedOut: it took longer than `timeout`, or than its own limit.
        AgentExecutionCancelled: it was cancelled through the API.
        asyncio.CancelledError: the workflow, or the awaiting task, was cancelled.
    """
    unique = str(temporal.uuid4())
    request_id = request_id or unique
    request = start_agent_request(
        agent_id=agent,
        message=message,
        data=input,
        spec=spec,
        env=env,
        config=config,
        session_id=session_id,
        labels=labels,
        request_id=request_id,
    )
    call = Call(
        kind=Kind.AGENT,
        execution_type=AgentExecution,
        start=AgentActivities.call_agent,
        cancel=AgentActivities.cancel_agent,
        cancel_request=CancelAgentExecutionRequest(
            request_id=request_id, namespace=temporal.info().namespace, reason=_CANCELLED
        ),
        request_id=request_id,
        unique=unique,
        summary=agent or "inline agent",
    )
    return AgentResult(
        await call.outcome(request, timeout=timeout, heartbeat_timeout=heartbeat_timeout)
    )


async def run_workflow(
    workflow: str = "",
    *,
    input: Any = None,  # noqa: A002 - the protocol's name
    spec: WorkflowSpec | None = None,
    config: WorkflowConfig | None = None,
    session_id: str = "",
    labels: Mapping[str, str] | None = None,
    timeout: timedelta = limits.DEFAULT_TIMEOUT,
    heartbeat_timeout: timedelta = limits.DEFAULT_HEARTBEAT_TIMEOUT,
    request_id: str | None = None,
) -> WorkflowResult:
    """Run a Stigma workflow from a workflow and wait for its outcome, holding no worker meanwhile.

    As `run_agent`: the worker needs `StigmaPlugin`, and cancelling what awaits this cancels the
    Stigma workflow.

    Args:
        workflow: name, or name@version, of a registered workflow.
        input: the workflow's input: whatever the calling workflow's payload converter turns into
            JSON; at most 1 MiB encoded.
        spec: an inline workflow, instead of `workflow`; needs the permission workflows.inline.
        config: a tighter limit than the workflow's own.
        session_id: groups executions that belong together.
        labels: free labels, to find the execution by.
        timeout: how long the workflow may take, workers' outages included.
        heartbeat_timeout: within what time the loss of this worker or of the workflow is noticed.
        request_id: idempotency key; a random one, stable over retries and replays, by default.

    Returns:
        The result of a workflow that completed.

    Raises:
        WorkflowExecutionFailed: the workflow failed, could not be started, or the request or result
            is too large.
        WorkflowExecutionTimedOut: it took longer than `timeout`, or than its own limit.
        WorkflowExecutionCancelled: it was cancelled through the API.
        asyncio.CancelledError: the calling workflow, or the awaiting task, was cancelled.
    """
    unique = str(temporal.uuid4())
    request_id = request_id or unique
    request = start_workflow_request(
        workflow_id=workflow,
        data=input,
        spec=spec,
        config=config,
        session_id=session_id,
        labels=labels,
        request_id=request_id,
    )
    call = Call(
        kind=Kind.WORKFLOW,
        execution_type=WorkflowExecution,
        start=WorkflowActivities.call_workflow,
        cancel=WorkflowActivities.cancel_workflow,
        cancel_request=CancelWorkflowExecutionRequest(
            request_id=request_id, namespace=temporal.info().namespace, reason=_CANCELLED
        ),
        request_id=request_id,
        unique=unique,
        summary=workflow or "inline workflow",
    )
    return WorkflowResult(
        await call.outcome(request, timeout=timeout, heartbeat_timeout=heartbeat_timeout)
    )
