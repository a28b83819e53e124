"""Hands an outcome to the activity that waits: to whom, in which order (workflow side)."""

from __future__ import annotations

import asyncio
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
    TemporalCaller,
)
from stigma.contracts.activities import CallbackActivities
from stigma.internal.v1.execution_pb2 import (
    DELIVERY_VERDICT_DELIVERED,
    DELIVERY_VERDICT_NOT_FOUND,
    DELIVERY_VERDICT_UNDELIVERABLE,
    DeliverCallbackRequest,
    DeliverCallbackResponse,
)
from stigma_orchestrator.bindings import Bindings

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


@dataclass(frozen=True)
class Delivered:
    """How a delivery ended."""

    state: CallbackState.ValueType
    message: str = ""


class Delivery:
    """Delivers one outcome to the newest binding, then the older ones, then by id."""

    def __init__(
        self,
        bindings: Bindings,
        execution: AgentExecution,
        payload: CallbackPayload.ValueType,
        *,
        report_cancellation: bool,
    ) -> None:
        self._bindings = bindings
        self._tried: set[bytes] = set()
        self._succeeded = execution.status.phase == AGENT_EXECUTION_PHASE_COMPLETED
        self._request = DeliverCallbackRequest(
            execution_id=execution.id,
            request_id=execution.spec.request_id,
            execution=execution,
            payload=payload,
            report_cancellation=report_cancellation,
        )

    async def deliver(self) -> Delivered:
        """Try one target after the other until one is resolved. Never raises for an RPC."""
        while (request := self._next()) is not None:
            response = await self._send(request)
            if response.verdict == DELIVERY_VERDICT_DELIVERED:
                return Delivered(self._state(request))
            if response.verdict == DELIVERY_VERDICT_UNDELIVERABLE:
                return Delivered(CallbackState.CALLBACK_STATE_UNDELIVERABLE, response.message)
        return Delivered(CallbackState.CALLBACK_STATE_RESOLVED_OR_GONE)

    def _state(self, request: DeliverCallbackRequest) -> CallbackState.ValueType:
        newest = self._bindings.newest
        if newest is not None and request.token not in (b"", newest.token):
            return CallbackState.CALLBACK_STATE_SUPERSEDED
        return CallbackState.CALLBACK_STATE_DELIVERED

    def _next(self) -> DeliverCallbackRequest | None:
        """Return the next untried target; a binding that arrived meanwhile comes first."""
        for bind in self._bindings.newest_first():
            if bind.token not in self._tried:
                self._tried.add(bind.token)
                return self._to(bind.caller, token=bind.token)
        newest = self._bindings.newest
        # By id also works while an attempt waits in back-off, but only for a unique id.
        if newest is None or not newest.caller.activity_id or b"" in self._tried:
            return None
        self._tried.add(b"")
        return self._to(newest.caller)

    def _to(self, caller: TemporalCaller, *, token: bytes = b"") -> DeliverCallbackRequest:
        request = DeliverCallbackRequest()
        request.CopyFrom(self._request)
        request.namespace = caller.namespace
        if token:
            request.token = token
        else:
            request.caller.CopyFrom(caller)
        return request

    async def _send(self, request: DeliverCallbackRequest) -> DeliverCallbackResponse:
        # Success is already in history, as the last model call's result; a failure is decided
        # here, and a regular activity puts the decision into history before it is sent.
        if self._succeeded:
            try:
                return await self._try_locally(request)
            except FailureError:
                # An ActivityError, but on replay the SDK raises its bare cause for a timeout.
                workflow.logger.info("delivery goes on as a regular activity")
        if request.token:
            return await self._try_until_deadline(request)
        return await self._try_until_bound(request)

    async def _try_locally(self, request: DeliverCallbackRequest) -> DeliverCallbackResponse:
        return await workflow.execute_local_activity_method(
            CallbackActivities.deliver_callback,
            request,
            schedule_to_close_timeout=_SHORT_TRY,
            retry_policy=_ONE_TRY,
        )

    async def _try_until_deadline(self, request: DeliverCallbackRequest) -> DeliverCallbackResponse:
        try:
            return await workflow.execute_activity_method(
                CallbackActivities.deliver_callback,
                request,
                start_to_close_timeout=_RPC_TIMEOUT,
                schedule_to_close_timeout=self._time_left(),
                retry_policy=_UNTIL_DEADLINE,
            )
        except ActivityError as error:
            return DeliverCallbackResponse(
                verdict=DELIVERY_VERDICT_UNDELIVERABLE,
                message=f"not delivered before the caller's deadline: {error.cause}",
            )

    async def _try_until_bound(self, request: DeliverCallbackRequest) -> DeliverCallbackResponse:
        """Try by id; the next attempt of the activity, once bound, is a better target."""
        revision = self._bindings.revision
        trying = asyncio.create_task(self._try_until_deadline(request))
        await workflow.wait_condition(lambda: trying.done() or self._bindings.revision != revision)
        if trying.done():
            return trying.result()
        trying.cancel()
        # By id is open again, and so is a token that an activity reset has revived.
        newest = self._bindings.newest
        self._tried -= {b"", newest.token if newest else b""}
        return DeliverCallbackResponse(verdict=DELIVERY_VERDICT_NOT_FOUND)

    def _time_left(self) -> timedelta:
        newest = self._bindings.newest
        if newest is None or not newest.HasField("deadline"):
            return timedelta(hours=1)
        left = newest.deadline.ToDatetime(UTC) - workflow.now()
        return max(left, _RPC_TIMEOUT)
