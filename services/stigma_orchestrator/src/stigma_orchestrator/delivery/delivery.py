"""Hands an outcome to the activity that waits: to whom, in which order (workflow side)."""

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
from stigma_orchestrator.delivery.bindings import Bindings, activity_of

# A workflow takes no signal while its local activity runs: one short try.
_SHORT_TRY = timedelta(seconds=5)
_RPC_TIMEOUT = timedelta(seconds=10)
_ONE_TRY = RetryPolicy(maximum_attempts=1)
# Bounded by the caller's deadline, not by a count: outages last longer than any count.
_UNTIL_DEADLINE = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=2.0,
    maximum_interval=timedelta(seconds=30),
)
_BEST_FIRST = (
    CallbackState.CALLBACK_STATE_DELIVERED,
    CallbackState.CALLBACK_STATE_SUPERSEDED,
    CallbackState.CALLBACK_STATE_UNDELIVERABLE,
)


@dataclass(frozen=True)
class Delivered:
    """How a delivery ended."""

    state: CallbackState.ValueType
    message: str = ""


@dataclass(frozen=True)
class _Target:
    """One way to an activity: by the token of an attempt, or by id."""

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
        asking: Container[str] = (),
    ) -> None:
        """Prepare the delivery.

        Args:
            bindings: whom to deliver to; those that come meanwhile count as well.
            execution: the outcome.
            payload: in which form a success is delivered, a CallbackPayload of the kind's own.
            asking: the activities that asked for their cancellation and wait for the answer.
        """
        self._bindings = bindings
        self._asking = asking
        self._tried: set[bytes] = set()
        self._tried_by_id: set[str] = set()
        self._ended: dict[str, Delivered] = {}
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

    async def deliver(self) -> Delivered:
        """Try one target after the other until no activity waits. Never raises for an RPC."""
        while (target := self._next()) is not None:
            response = await self._send(target)
            if response.verdict == DELIVERY_VERDICT_DELIVERED:
                self._ended[target.activity] = Delivered(self._state(target))
            elif response.verdict == DELIVERY_VERDICT_UNDELIVERABLE:
                undeliverable = CallbackState.CALLBACK_STATE_UNDELIVERABLE
                self._ended[target.activity] = Delivered(undeliverable, response.message)
        return self._outcome()

    def _outcome(self) -> Delivered:
        """Of several activities the best counts: what one was told stays true."""
        for state in _BEST_FIRST:
            for ended in self._ended.values():
                if ended.state == state:
                    return ended
        return Delivered(CallbackState.CALLBACK_STATE_RESOLVED_OR_GONE)

    def _state(self, target: _Target) -> CallbackState.ValueType:
        newest = self._bindings.by_activity().get(target.activity, target.bind)
        if not target.by_id and target.bind.token != newest.token:
            return CallbackState.CALLBACK_STATE_SUPERSEDED
        return CallbackState.CALLBACK_STATE_DELIVERED

    def _next(self) -> _Target | None:
        """Return the next untried target; a binding that arrived meanwhile comes first."""
        for bind in self._bindings.newest_first():
            activity = activity_of(bind)
            if activity not in self._ended and bind.token not in self._tried:
                self._tried.add(bind.token)
                return _Target(activity, bind)
        for activity, bind in self._bindings.by_activity().items():
            # By id also works while an attempt waits in back-off, but only for a unique id.
            untried = activity not in self._ended and activity not in self._tried_by_id
            if untried and bind.caller.activity_id:
                self._tried_by_id.add(activity)
                return _Target(activity, bind, by_id=True)
        return None

    def _to(self, target: _Target) -> DeliverCallbackRequest:
        request = DeliverCallbackRequest()
        request.CopyFrom(self._request)
        request.namespace = target.bind.caller.namespace
        request.report_cancellation = target.activity in self._asking
        if target.by_id:
            request.caller.CopyFrom(target.bind.caller)
            # Whom it is for is seen by the token, in the log too.
            fingerprint = tokens.fingerprint(target.bind.token)
            executions.to_deliver(request).status.callback.fingerprint = fingerprint
        else:
            request.token = target.bind.token
        return request

    async def _send(self, target: _Target) -> DeliverCallbackResponse:
        request = self._to(target)
        # Success is already in history, as the result of the last model call or of the engine's
        # run; a failure is decided here, and a regular activity puts the decision into history
        # before it is sent.
        if self._succeeded:
            try:
                return await self._try_locally(request)
            except FailureError:
                # An ActivityError, but on replay the SDK raises its bare cause for a timeout.
                ids = {"execution_id": request.execution_id, "request_id": request.request_id}
                workflow.logger.info("delivery_goes_on", extra=ids)
        if target.by_id:
            return await self._try_until_bound(request, target)
        return await self._try_until_deadline(request, target.bind)

    async def _try_locally(self, request: DeliverCallbackRequest) -> DeliverCallbackResponse:
        return await workflow.execute_local_activity_method(
            self._activity,
            request,
            schedule_to_close_timeout=_SHORT_TRY,
            retry_policy=_ONE_TRY,
        )

    async def _try_until_deadline(
        self, request: DeliverCallbackRequest, bind: Bind
    ) -> DeliverCallbackResponse:
        try:
            return await workflow.execute_activity_method(
                self._activity,
                request,
                start_to_close_timeout=_RPC_TIMEOUT,
                schedule_to_close_timeout=_time_left(bind),
                retry_policy=_UNTIL_DEADLINE,
            )
        except ActivityError as error:
            return DeliverCallbackResponse(
                verdict=DELIVERY_VERDICT_UNDELIVERABLE,
                message=f"not delivered before the caller's deadline: {error.cause}",
            )

    async def _try_until_bound(
        self, request: DeliverCallbackRequest, target: _Target
    ) -> DeliverCallbackResponse:
        """Try by id; the next attempt of the activity, once bound, is a better target."""
        revision = self._bindings.revision
        trying = asyncio.create_task(self._try_until_deadline(request, target.bind))
        await workflow.wait_condition(lambda: trying.done() or self._bindings.revision != revision)
        if trying.done():
            return trying.result()
        trying.cancel()
        # By id is open again, and so is a token that an activity reset has revived.
        self._tried_by_id.discard(target.activity)
        if (newest := self._bindings.newest) is not None:
            self._tried.discard(newest.token)
        return DeliverCallbackResponse(verdict=DELIVERY_VERDICT_NOT_FOUND)


def _time_left(bind: Bind) -> timedelta:
    if not bind.HasField("deadline"):
        return timedelta(hours=1)
    left = bind.deadline.ToDatetime(UTC) - workflow.now()
    return max(left, _RPC_TIMEOUT)
