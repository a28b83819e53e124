"""`AgentWorkflow`: one agent execution, from the first bound token to the last delivery."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import UTC, timedelta

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from google.protobuf.timestamp_pb2 import Timestamp

    from stigma.agent.v1.agent_execution_pb2 import (
        AgentExecution,
        AgentExecutionPhase,
        AgentOutput,
        CallbackState,
        CallbackStatus,
        Failure,
    )
    from stigma.agent.v1.agent_pb2 import FailureReason
    from stigma.contracts import (
        errors,
        limits,
        payloads,
        search_attributes,
        tokens,
        versions,
        workflows,
    )
    from stigma.contracts.task_queues import TaskQueues
    from stigma.internal.v1.execution_pb2 import (
        AgentWorkflowInput,
        Bind,
        CallerVerdict,
        CarriedState,
    )
    from stigma_orchestrator.agent_loop import AgentFailedError, AgentLoop
    from stigma_orchestrator.bindings import Bindings
    from stigma_orchestrator.caller_watch import CallerWatch
    from stigma_orchestrator.delivery import Delivered, Delivery


@dataclass(frozen=True)
class _Outcome:
    """What the execution came to. Once decided, neither a cancel nor a deadline changes it."""

    phase: AgentExecutionPhase.ValueType
    output: AgentOutput | None = None
    failure: Failure | None = None
    asking: frozenset[str] = frozenset()
    """Activities that asked for their cancellation and wait for the answer."""


@workflow.defn(name="AgentWorkflow")
class AgentWorkflow(workflows.AgentWorkflow):
    """Runs an agent and delivers its outcome to whoever is bound."""

    @workflow.init
    def __init__(self, request: AgentWorkflowInput) -> None:
        info = workflow.info()
        carried = request.carried
        queues = TaskQueues.from_orchestrator(info.task_queue)
        self._request = request
        self._start_time = Timestamp()
        if carried.HasField("start_time"):
            self._start_time.CopyFrom(carried.start_time)
        else:
            self._start_time.FromDatetime(info.workflow_start_time)
        self._deadline = request.deadline.ToDatetime(UTC)
        self._bindings = Bindings(request.spec_digest, carried.bindings)
        self._agent = AgentLoop(
            request.execution_id,
            request.spec,
            self._deadline,
            queues,
            carried,
            can_continue=lambda: not self._oversize(),
        )
        self._watch = CallerWatch(
            request.execution_id, request.spec.request_id, self._bindings, queues
        )
        self._outcome: _Outcome | None = None
        self._end_time = Timestamp()
        self._delivered: Delivered | None = None

    @workflow.signal(name="bind")
    def bind(self, bind: Bind) -> None:
        """Bind an attempt of the caller's activity. One that does not belong here is ignored."""
        waited = self._bindings.by_activity()
        if not self._bindings.add(bind):
            self._warn("bind_ignored", bind)
            return
        for activity in waited.keys() - self._bindings.by_activity().keys():
            # So many under one request id that the one that asked longest ago made room.
            self._warn("activity_let_go", waited[activity])

    @workflow.query(name="execution")
    def execution(self) -> AgentExecution:
        """Return the execution as it stands, conversation included."""
        execution = self._snapshot()
        execution.spec.CopyFrom(self._request.spec)
        execution.status.messages.extend(self._agent.messages)
        return execution

    @workflow.run
    async def run(self, request: AgentWorkflowInput) -> AgentExecution:  # noqa: ARG002 - as in __init__
        """Run the agent, deliver its outcome, and return it."""
        # The work goes on in a task of its own, so that a cancel is a fact it looks at when it
        # next decides: success that is already in history wins over a cancel that came with it.
        work = asyncio.create_task(self._work())
        while not work.done():
            # When the worker drops this run from its cache, it cancels the work as well.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(work)
        if not work.result():
            workflow.continue_as_new(
                self._carry_over(), initial_versioning_behavior=versions.of_next_run()
            )
        return self._close()

    async def _work(self) -> bool:
        """Decide and deliver; return False when the workflow should continue as new instead."""
        self._outcome = await self._decide()
        if self._outcome is None:
            return False
        self._end_time.FromDatetime(workflow.now())
        self._delivered = await self._deliver(self._outcome)
        return True

    async def _decide(self) -> _Outcome | None:
        """Wait for the agent, a cancel, the deadline, or the loss of the caller."""
        agent = asyncio.create_task(self._agent.run())
        try:
            while True:
                await self._wait(agent)
                if agent.done() and (answered := self._answered(agent)) is not None:
                    return answered
                if (stopped := self._stopped()) is not None:
                    return stopped
                if agent.done():
                    return self._too_large()
                due = self._watch.due()
                if due is not None and due <= workflow.now():
                    self._watch.start(self._deadline)
        finally:
            agent.cancel()
            self._watch.stop()

    async def _wait(self, agent: asyncio.Task[AgentOutput | None]) -> None:
        """Sleep until there is something to decide."""
        wake = self._deadline
        watching = self._watch.due()
        if watching is not None:
            wake = min(wake, watching)
        revision = self._bindings.revision
        # Not a timeout of the condition: it would overtake an answer that came with it, whereas
        # a condition is looked at once everything that came together was taken in.
        timer = asyncio.create_task(workflow.sleep(max(wake - workflow.now(), timedelta())))
        try:
            await workflow.wait_condition(
                lambda: (
                    agent.done()
                    or timer.done()
                    or workflow.cancellation_reason() is not None
                    or self._watch.verdict() is not None
                    or self._bindings.revision != revision
                )
            )
        finally:
            timer.cancel()

    def _answered(self, agent: asyncio.Task[AgentOutput | None]) -> _Outcome | None:
        try:
            output = agent.result()
        except AgentFailedError as failed:
            phase = AgentExecutionPhase.AGENT_EXECUTION_PHASE_FAILED
            if failed.failure.reason == FailureReason.FAILURE_REASON_DEADLINE:
                phase = AgentExecutionPhase.AGENT_EXECUTION_PHASE_TIMED_OUT
            return _Outcome(phase, failed.output, failed.failure)
        except FailureError as error:
            # Not foreseen, but a caller must hear of it all the same.
            reason = FailureReason.FAILURE_REASON_INTERNAL
            failure = Failure(reason=reason, message=type(error).__name__)
            phase = AgentExecutionPhase.AGENT_EXECUTION_PHASE_FAILED
            return _Outcome(phase, failure=failure)
        if output is None:
            return None
        return _Outcome(AgentExecutionPhase.AGENT_EXECUTION_PHASE_COMPLETED, output)

    def _stopped(self) -> _Outcome | None:
        cancelled = AgentExecutionPhase.AGENT_EXECUTION_PHASE_CANCELLED
        verdict = self._watch.verdict()
        if (asked := workflow.cancellation_reason()) is not None:
            reason = FailureReason.FAILURE_REASON_CANCELLED
            # Temporal takes a reason of any size; what carries it on does not.
            message = asked.encode()[: limits.MAX_REASON_BYTES].decode(errors="ignore")
            failure = Failure(reason=reason, message=message or "cancelled")
            return _Outcome(cancelled, failure=failure)
        if verdict == CallerVerdict.CALLER_VERDICT_CANCEL_REQUESTED:
            reason = FailureReason.FAILURE_REASON_CANCELLED
            failure = Failure(reason=reason, message="cancelled by its caller")
            return _Outcome(cancelled, failure=failure, asking=self._watch.asking())
        if verdict == CallerVerdict.CALLER_VERDICT_GONE:
            reason = FailureReason.FAILURE_REASON_CALLER_GONE
            return _Outcome(cancelled, failure=Failure(reason=reason, message="its caller is gone"))
        if workflow.now() >= self._deadline:
            reason = FailureReason.FAILURE_REASON_DEADLINE
            failure = Failure(reason=reason, message="the deadline passed")
            timed_out = AgentExecutionPhase.AGENT_EXECUTION_PHASE_TIMED_OUT
            return _Outcome(timed_out, failure=failure)
        return None

    def _too_large(self) -> _Outcome | None:
        """Fail what could not continue as new: Temporal would terminate it without a reason."""
        size = self._oversize()
        if not size:
            return None
        failure = Failure(
            reason=FailureReason.FAILURE_REASON_TOO_LARGE,
            message=f"the conversation has {size} bytes, the limit is {limits.MAX_PAYLOAD_BYTES}",
        )
        return _Outcome(AgentExecutionPhase.AGENT_EXECUTION_PHASE_FAILED, failure=failure)

    def _oversize(self) -> int:
        """Return the bytes of what would be carried over when they are too many, else 0."""
        return payloads.json_size_over(limits.MAX_PAYLOAD_BYTES, self._carry_over())

    async def _deliver(self, outcome: _Outcome) -> Delivered | None:
        if not self._bindings:
            return None
        return await Delivery(
            self._bindings,
            self._snapshot(),
            self._request.spec.callback_payload,
            asking=outcome.asking,
        ).deliver()

    def _close(self) -> AgentExecution:
        """Return the completed execution, or end the run as what it came to."""
        execution = self._snapshot()
        phase = execution.status.phase
        if phase == AgentExecutionPhase.AGENT_EXECUTION_PHASE_COMPLETED:
            if not self._is_undeliverable():
                return execution
            # The answer stays readable, and a late attempt of the caller still gets it.
            execution.status.failure.reason = FailureReason.FAILURE_REASON_UNDELIVERABLE
            execution.status.failure.message = execution.status.callback.message
        name = AgentExecutionPhase.Name(phase).removeprefix("AGENT_EXECUTION_PHASE_")
        workflow.upsert_search_attributes([search_attributes.PHASE.value_set(name)])
        if workflow.cancellation_reason() is not None and (
            phase == AgentExecutionPhase.AGENT_EXECUTION_PHASE_CANCELLED
        ):
            # Temporal's own "cancelled" carries no details: the memo does, beside what was asked.
            remembered = workflow.memo_value("execution", execution, type_hint=AgentExecution)
            remembered.status.CopyFrom(execution.status)
            workflow.upsert_memo({"execution": remembered})
            raise asyncio.CancelledError
        raise ApplicationError(
            errors.failure_message(execution),
            RawValue(payloads.json_payload(errors.failure_details(execution))),
            type=errors.ErrorType.of(execution),
            non_retryable=True,
        )

    def _snapshot(self) -> AgentExecution:
        """The execution as it stands, without the task itself and the conversation."""
        spec = self._request.spec
        execution = AgentExecution(id=self._request.execution_id)
        execution.spec.agent_id = spec.agent_id
        execution.spec.session_id = spec.session_id
        execution.spec.request_id = spec.request_id
        execution.spec.principal = spec.principal
        execution.spec.labels.update(spec.labels)
        status = execution.status
        status.phase = AgentExecutionPhase.AGENT_EXECUTION_PHASE_RUNNING
        status.steps = self._agent.steps
        status.usage.CopyFrom(self._agent.usage)
        status.start_time.CopyFrom(self._start_time)
        status.deadline.CopyFrom(self._request.deadline)
        if self._outcome is not None:
            status.phase = self._outcome.phase
            status.end_time.CopyFrom(self._end_time)
            if self._outcome.output is not None:
                status.output.CopyFrom(self._outcome.output)
            if self._outcome.failure is not None:
                status.failure.CopyFrom(self._outcome.failure)
        if self._bindings:
            status.callback.CopyFrom(self._callback())
        return execution

    def _callback(self) -> CallbackStatus:
        newest = self._bindings.newest
        return CallbackStatus(
            state=self._delivered.state
            if self._delivered
            else CallbackState.CALLBACK_STATE_WAITING,
            message=self._delivered.message if self._delivered else "",
            fingerprint=tokens.fingerprint(newest.token) if newest else "",
            bindings=len(self._bindings),
        )

    def _warn(self, event: str, bind: Bind) -> None:
        extra = {
            "execution_id": self._request.execution_id,
            "request_id": self._request.spec.request_id,
            "callback_fingerprint": tokens.fingerprint(bind.token),
            "token_length": len(bind.token),
        }
        workflow.logger.warning(event, extra=extra)

    def _is_undeliverable(self) -> bool:
        return (
            self._delivered is not None
            and self._delivered.state == CallbackState.CALLBACK_STATE_UNDELIVERABLE
        )

    def _carry_over(self) -> AgentWorkflowInput:
        request = AgentWorkflowInput()
        request.CopyFrom(self._request)
        request.carried.CopyFrom(
            CarriedState(
                start_time=self._start_time,
                messages=self._agent.answers(),
                usage=self._agent.usage,
                steps=self._agent.steps,
                bindings=self._bindings.in_order(),
            )
        )
        return request
