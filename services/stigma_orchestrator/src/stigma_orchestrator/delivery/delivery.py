"""Delivery of an outcome on the workflow side: to whom, in which order, how often."""

from __future__ import annotations

import asyncio
from collections.abc import Container
from dataclasses import dataclass
from datetime import UTC, timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, FailureError

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_COMPLETED,
    AgentExecution,
    CallbackPayload,
    CallbackState,
    CallbackStatus,
)
from stigma.contracts import executions, tokens
from stigma.contracts.activities import CallbackActivities
from stigma.contracts.executions import Execution
from stigma.internal.v1.execution_pb2 import (
    DELIVERY_VERDICT_DELIVERED,
    DELIVERY_VERDICT_NOT_FOUND,
    DELIVERY_VERDICT_UNDELIVERABLE,
    Bind,
    DeliverCallbackRequest,
    DeliverCallbackResponse,
)
from stigma_orchestrator.delivery.bindings import Bindings, activity_id_of

# A workflow receives no signal while its local activity runs: one short attempt.
_LOCAL_TIMEOUT = timedelta(seconds=5)
_RPC_TIMEOUT = timedelta(seconds=10)
_NO_RETRY = RetryPolicy(maximum_attempts=1)
# Bounded by the caller's deadline, not by a count: outages last longer than any count.
_RETRY_UNTIL_DEADLINE = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=30),
)
_STATE_PRECEDENCE = (
    CallbackState.CALLBACK_STATE_DELIVERED,
    CallbackState.CALLBACK_STATE_SUPERSEDED,
    CallbackState.CALLBACK_STATE_UNDELIVERABLE,
)


@dataclass(frozen=True)
class DeliveryResult:
    """The end of a delivery."""

    state: CallbackState.ValueType
    message: str = ""


@dataclass(frozen=True)
class _Target:
    """An address of an activity: the token of an attempt, or its id."""

    activity: str
    bind: Bind
    by_id: bool = False


class Delivery:
    """Delivers one outcome to every activity that is bound.

    To each by the token of its newest attempt, then those of the older ones, then by id.
    """

    def __init__(
        self,
        bindings: Bindings,
        execution: Execution,
        payload: int,
        *,
        cancel_requesters: Container[str] = (),
    ) -> None:
        """Prepare the delivery.

        Args:
            bindings: the attempts to deliver to; those bound meanwhile count as well.
            execution: the outcome.
            payload: the form of a success, a CallbackPayload of the kind's own.
            cancel_requesters: ids of activities that requested their cancellation.
        """
        self._bindings = bindings
        self._cancel_requesters = cancel_requesters
        self._tried: set[bytes] = set()
        self._tried_by_id: set[str] = set()
        self._results: dict[str, DeliveryResult] = {}
        self._succeeded = execution.status.phase == AGENT_EXECUTION_PHASE_COMPLETED
        self._request = DeliverCallbackRequest(
            execution_id=execution.id,
            request_id=execution.spec.request_id,
            payload=CallbackPayload.ValueType(payload),
        )
        self._activity = CallbackActivities.deliver_workflow_callback
        if isinstance(execution, AgentExecution):
            self._activity = CallbackActivities.deliver_callback
            self._request.execution.CopyFrom(execution)
        else:
            self._request.workflow_execution.CopyFrom(execution)

    async def deliver(self) -> DeliveryResult:
        """Try one target after the other until none is left. Never raises for an RPC."""
        while (target := self._next_target()) is not None:
            response = await self._send(target)
            if response.verdict == DELIVERY_VERDICT_DELIVERED:
                self._results[target.activity] = DeliveryResult(self._state(target))
            elif response.verdict == DELIVERY_VERDICT_UNDELIVERABLE:
                undeliverable = CallbackState.CALLBACK_STATE_UNDELIVERABLE
                self._results[target.activity] = DeliveryResult(undeliverable, response.message)
        return self._result()

    def _result(self) -> DeliveryResult:
        """Return the best result of all activities: a delivery to one of them stays true."""
        for state in _STATE_PRECEDENCE:
            for result in self._results.values():
                if result.state == state:
                    return result
        return DeliveryResult(CallbackState.CALLBACK_STATE_RESOLVED_OR_GONE)

    def _state(self, target: _Target) -> CallbackState.ValueType:
        newest = self._bindings.newest_by_activity().get(target.activity, target.bind)
        if not target.by_id and target.bind.token != newest.token:
            return CallbackState.CALLBACK_STATE_SUPERSEDED
        return CallbackState.CALLBACK_STATE_DELIVERED

    def _next_target(self) -> _Target | None:
        """Return the next untried target; an attempt bound meanwhile comes first."""
        for bind in self._bindings.newest_first():
            activity = activity_id_of(bind)
            if activity not in self._results and bind.token not in self._tried:
                self._tried.add(bind.token)
                return _Target(activity, bind)
        for activity, bind in self._bindings.newest_by_activity().items():
            # By id also works while an attempt waits in back-off, but only for a unique id.
            untried = activity not in self._results and activity not in self._tried_by_id
            if untried and bind.caller.activity_id:
                self._tried_by_id.add(activity)
                return _Target(activity, bind, by_id=True)
        return None

    def _request_for(self, target: _Target) -> DeliverCallbackRequest:
        request = DeliverCallbackRequest()
        request.CopyFrom(self._request)
        request.namespace = target.bind.caller.namespace
        request.report_cancellation = target.activity in self._cancel_requesters
        if target.by_id:
            request.caller.CopyFrom(target.bind.caller)
            # Identifies the attempt in the log.
            fingerprint = tokens.fingerprint(target.bind.token)
            executions.delivered_execution(request).status.callback.fingerprint = fingerprint
        else:
            request.token = target.bind.token
        return request

    async def _send(self, target: _Target) -> DeliverCallbackResponse:
        request = self._request_for(target)
        # Success is already in history, as the result of the last model call or of the engine's
        # run; a failure is decided here, and a regular activity puts the decision into history
        # before it is sent.
        if self._succeeded:
            try:
                return await self._deliver_locally(request)
            except FailureError:
                # An ActivityError, but on replay the SDK raises its bare cause for a timeout.
                ids = {"execution_id": request.execution_id, "request_id": request.request_id}
                workflow.logger.info("delivery_goes_on", extra=ids)
        if target.by_id:
            return await self._deliver_by_id(request, target)
        return await self._deliver_until_deadline(request, target.bind)

    async def _deliver_locally(self, request: DeliverCallbackRequest) -> DeliverCallbackResponse:
        return await workflow.execute_local_activity_method(
            self._activity,
            request,
            schedule_to_close_timeout=_LOCAL_TIMEOUT,
            retry_policy=_NO_RETRY,
        )

    async def _deliver_until_deadline(
        self, request: DeliverCallbackRequest, bind: Bind
    ) -> DeliverCallbackResponse:
        try:
            return await workflow.execute_activity_method(
                self._activity,
                request,
                start_to_close_timeout=_RPC_TIMEOUT,
                schedule_to_close_timeout=_time_left(bind),
                retry_policy=_RETRY_UNTIL_DEADLINE,
            )
        except ActivityError as error:
            return DeliverCallbackResponse(
                verdict=DELIVERY_VERDICT_UNDELIVERABLE,
                message=f"not delivered before the caller's deadline: {error.cause}",
            )

    async def _deliver_by_id(
        self, request: DeliverCallbackRequest, target: _Target
    ) -> DeliverCallbackResponse:
        """Deliver by id until another attempt is bound, which is a better target."""
        version = self._bindings.version
        delivery = asyncio.create_task(self._deliver_until_deadline(request, target.bind))
        await workflow.wait_condition(lambda: delivery.done() or self._bindings.version != version)
        if delivery.done():
            return delivery.result()
        delivery.cancel()
        # By id is open again, and so is a token that an activity reset has revived.
        self._tried_by_id.discard(target.activity)
        if (newest := self._bindings.newest) is not None:
            self._tried.discard(newest.token)
        return DeliverCallbackResponse(verdict=DELIVERY_VERDICT_NOT_FOUND)


def callback_status(bindings: Bindings, result: DeliveryResult | None) -> CallbackStatus:
    """Return the status of an execution's callback; `result` is None before the delivery."""
    newest = bindings.newest
    return CallbackStatus(
        state=result.state if result else CallbackState.CALLBACK_STATE_WAITING,
        message=result.message if result else "",
        fingerprint=tokens.fingerprint(newest.token) if newest else "",
        bindings=len(bindings),
    )


def _time_left(bind: Bind) -> timedelta:
    if not bind.HasField("deadline"):
        return timedelta(hours=1)
    left = bind.deadline.ToDatetime(UTC) - workflow.now()
    return max(left, _RPC_TIMEOUT)
