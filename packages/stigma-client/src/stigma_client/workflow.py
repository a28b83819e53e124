"""`run_agent`: the workflow's side of a call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.agent.v1.agent_execution_service_pb2 import CancelAgentExecutionRequest
from stigma.agent.v1.agent_pb2 import AgentConfig, AgentSpec
from stigma.contracts import limits, payloads
from stigma_client.activities import AgentActivities
from stigma_client.errors import AgentExecutionFailed, of_activity
from stigma_client.events import log_in_workflow
from stigma_client.requests import start_request
from stigma_client.results import AgentResult

# Every attempt has a token of its own and starts are idempotent: retrying is safe, and not
# retrying would turn each deployment of the caller's workers into failed calls.
_CALL_RETRIES = RetryPolicy(
    initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30)
)

_CANCEL_TIMEOUT = timedelta(seconds=30)
_CANCEL_ATTEMPT_TIMEOUT = timedelta(seconds=16)
_CANCEL_RETRIES = RetryPolicy(
    initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=5)
)

# Turns of the event loop within which an outcome that came together with a cancellation shows.
_SETTLING_TURNS = 10


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
    unique = str(workflow.uuid4())
    request_id = request_id or unique
    request = start_request(
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
    bound = _bound(timeout, heartbeat_timeout)
    call = workflow.start_activity_method(
        AgentActivities.call_agent,
        payloads.to_raw(request),
        # Temporal's own ids are unique in a run only as long as nobody sets one.
        activity_id=f"agent-{unique}",
        schedule_to_close_timeout=bound,
        start_to_close_timeout=bound,
        heartbeat_timeout=heartbeat_timeout,
        retry_policy=_CALL_RETRIES,
        summary=agent or "inline agent",
    )
    try:
        await workflow.wait([call])
    except asyncio.CancelledError:
        await _stop(call, request_id)
        raise
    return _result(call, request_id)


def _bound(timeout: timedelta, heartbeat_timeout: timedelta) -> timedelta:
    if timeout <= timedelta() or heartbeat_timeout <= timedelta():
        raise AgentExecutionFailed(
            "timeout and heartbeat_timeout must be positive", reason="INVALID_ARGUMENT"
        )
    # The API takes a margin off again, at most half of the whole: what is left is `timeout`.
    return timeout + min(timeout, limits.CALLBACK_MARGIN)


def _result(call: workflow.ActivityHandle[RawValue], request_id: str) -> AgentResult:
    try:
        execution = payloads.from_raw(call.result(), AgentExecution)
    except ActivityError as error:
        failure = of_activity(error)
        log_in_workflow(
            "resumed", request_id=request_id, execution_id=failure.execution_id, error=failure.type
        )
        # `from None`: a cause would carry the execution a second time, perhaps over the size limit.
        raise failure from None
    except ValueError as error:
        raise AgentExecutionFailed(
            f"the activity was completed with something else: {error}", reason="INTERNAL"
        ) from None
    log_in_workflow("resumed", request_id=request_id, execution_id=execution.id)
    return AgentResult(execution)


async def _stop(call: workflow.ActivityHandle[RawValue], request_id: str) -> None:
    """Cancel the activity and the agent, whatever further cancellations arrive meanwhile.

    Cancelling the activity alone would not do: no code of it runs any more.
    """
    if await _settled(call):
        return
    call.cancel()
    request = CancelAgentExecutionRequest(
        request_id=request_id,
        namespace=workflow.info().namespace,
        reason="the calling workflow was cancelled",
    )
    stop = workflow.start_activity_method(
        AgentActivities.cancel_agent,
        payloads.to_raw(request),
        schedule_to_close_timeout=_CANCEL_TIMEOUT,
        start_to_close_timeout=_CANCEL_ATTEMPT_TIMEOUT,
        retry_policy=_CANCEL_RETRIES,
    )
    while not stop.done():
        try:
            await workflow.wait([stop])
        except asyncio.CancelledError:
            continue  # already cancelling; what we wait for is bounded
    _forget(call)
    if not stop.cancelled() and stop.exception() is not None:
        # The agent's own watch over its caller stops it later.
        log_in_workflow(
            "cancel_failed",
            level=logging.WARNING,
            request_id=request_id,
            reason=_reason_of(stop.exception()),
        )


def _reason_of(error: BaseException | None) -> str:
    """Return what the API answered, or how the activity ended without an answer."""
    cause = error.cause if isinstance(error, ActivityError) else error
    if not isinstance(cause, ApplicationError):
        return type(cause).__name__
    detail = cause.details[0] if cause.details else None
    # A refusal has the status code in its detail; trouble that passes, as its type.
    reason = detail.get("reason") if isinstance(detail, Mapping) else None
    return str(reason or cause.type)


async def _settled(call: workflow.ActivityHandle[RawValue]) -> bool:
    """Whether the outcome came in the same activation as the cancellation: nothing to stop."""
    for _ in range(_SETTLING_TURNS):
        if call.done():
            _forget(call)
            return True
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            continue
    return False


def _forget(call: workflow.ActivityHandle[RawValue]) -> None:
    """Take note of an outcome nobody awaits, or asyncio would complain of it."""
    if call.done() and not call.cancelled():
        call.exception()
