"""`run_agent` and `run_workflow`: what a workflow awaits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from temporalio import workflow as temporal

from stigma.agent.v1.agent_execution_pb2 import SessionPolicy
from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.agent.v1.agent_pb2 import AgentConfig, AgentSpec
from stigma.contracts import limits
from stigma.workflow.v1.workflow_execution_service_pb2 import StartWorkflowRequest
from stigma.workflow.v1.workflow_pb2 import WorkflowConfig, WorkflowSpec
from stigma_client import kinds
from stigma_client.activities import AgentActivities, WorkflowActivities
from stigma_client.calls import Call
from stigma_client.requests import start_request
from stigma_client.results import AgentResult, WorkflowResult


async def run_agent(
    agent: str = "",
    message: str = "",
    *,
    input: Any = None,  # noqa: A002 - the protocol's name
    spec: AgentSpec | None = None,
    env: Mapping[str, str] | None = None,
    config: AgentConfig | None = None,
    session_id: str = "",
    session_policy: SessionPolicy.ValueType = SessionPolicy.SESSION_POLICY_UNSPECIFIED,
    labels: Mapping[str, str] | None = None,
    partial_text: bool = False,
    timeout: timedelta = limits.DEFAULT_TIMEOUT,
    heartbeat_timeout: timedelta = limits.DEFAULT_HEARTBEAT_TIMEOUT,
    request_id: str | None = None,
    summary: str = "",
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
        session_id: the session whose conversation the agent continues, one at a time.
        session_policy: what to do while another turn of the session runs; by default it waits.
        labels: free labels, to find the execution by.
        partial_text: let those who watch the execution see what the model writes while it writes.
        timeout: how long the agent may take, workers' outages included.
        heartbeat_timeout: within what time the loss of this worker or of the agent is noticed.
        request_id: idempotency key; a random one, stable over retries and replays, by default.
        summary: what people read beside the call in Temporal's pages; the agent's name by default.

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
    build = partial(
        StartAgentRequest,
        message=message,
        env=env,
        config=config,
        session_id=session_id,
        session_policy=session_policy,
        labels=labels,
        partial_text=partial_text,
    )
    request = start_request(
        kinds.AGENT, build, name=agent, spec=spec, data=input, request_id=request_id or unique
    )
    activities = AgentActivities.call_agent, AgentActivities.cancel_agent
    call = Call(kinds.AGENT, *activities, request, unique, summary)
    return AgentResult(await call.run(timeout=timeout, heartbeat_timeout=heartbeat_timeout))


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
    build = partial(
        StartWorkflowRequest,
        config=config,
        session_id=session_id,
        labels=labels,
    )
    request = start_request(
        kinds.WORKFLOW, build, name=workflow, spec=spec, data=input, request_id=request_id or unique
    )
    activities = WorkflowActivities.call_workflow, WorkflowActivities.cancel_workflow
    call = Call(kinds.WORKFLOW, *activities, request, unique)
    return WorkflowResult(await call.run(timeout=timeout, heartbeat_timeout=heartbeat_timeout))
