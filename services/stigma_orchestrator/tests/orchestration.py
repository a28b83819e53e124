"""A whole orchestrator in this process against a real Temporal, with a fake model and caller.

The caller here is a foreign one: the SDK's own data converter, no package of ours installed.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, TypeVar, cast

from temporalio import activity, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import RawValue, RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError
from temporalio.worker import Replayer, Worker

from services.stigma_orchestrator.tests.watches import CountedLooks
from stigma.agent.v1.agent_execution_pb2 import (
    ROLE_MODEL,
    AgentExecution,
    AgentExecutionSpec,
    AgentOutput,
    CallbackState,
    Message,
    Part,
    TemporalCaller,
    Usage,
)
from stigma.agent.v1.agent_pb2 import AgentSpec
from stigma.contracts import errors, executions, payloads
from stigma.contracts.activities import CALL_MODEL, DELIVER_CALLBACK, ModelActivities
from stigma.contracts.executions import Execution
from stigma.contracts.payloads import DATA_CONVERTER
from stigma.contracts.task_queues import TaskQueues
from stigma.internal.v1.execution_pb2 import (
    FINISH_REASON_PAUSE,
    FINISH_REASON_STOP,
    AgentWorkflowInput,
    Bind,
    DeliverCallbackRequest,
    DeliverCallbackResponse,
    ModelCallRequest,
    ModelCallResponse,
)
from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution
from stigma_orchestrator.agents.conversation import Conversation
from stigma_orchestrator.agents.workflow import AgentWorkflow
from stigma_orchestrator.delivery.deliver_activity import CallbackSender
from stigma_orchestrator.delivery.metrics import CallbackMetrics
from stigma_orchestrator.workflows.workflow import WorkflowExecutionWorkflow

DIGEST = b"digest of the request"

ExecutionT = TypeVar("ExecutionT", AgentExecution, WorkflowExecution)


def response(text: str = "42", **fields: Any) -> ModelCallResponse:
    """A model's answer of 10 + 5 tokens for a cent."""
    fields.setdefault("finish_reason", FINISH_REASON_STOP)
    return ModelCallResponse(
        message=Message(role=ROLE_MODEL, parts=[Part(text=text)]),
        usage=Usage(input_tokens=10, output_tokens=5, cost_usd=0.01),
        **fields,
    )


def pause(text: str = "…") -> ModelCallResponse:
    """An unfinished answer: the agent calls again."""
    return response(text, finish_reason=FINISH_REASON_PAUSE)


class Model(ModelActivities):
    """A fake model. `hold` keeps calls waiting, heartbeating, until `release`."""

    def __init__(self) -> None:
        self.requests: list[ModelCallRequest] = []
        self.answers: list[ModelCallResponse | BaseException] = [response()]
        self.called = asyncio.Event()
        self.cancelled = asyncio.Event()
        self._held_step = 1
        self._released = asyncio.Event()
        self._released.set()

    def respond_with(self, *answers: ModelCallResponse | BaseException) -> None:
        """Return or raise these in order; the last one repeats."""
        self.answers = list(answers)

    def hold(self, step: int = 1) -> None:
        """Keep calls from this step on waiting."""
        self._held_step = step
        self.called.clear()
        self._released.clear()

    def release(self) -> None:
        self._released.set()

    @activity.defn(name=CALL_MODEL)
    async def call_model(self, request: ModelCallRequest) -> ModelCallResponse:
        return await self.respond(request)

    async def respond(self, request: ModelCallRequest) -> ModelCallResponse:
        self.requests.append(request)
        if request.step >= self._held_step:
            self.called.set()
            await self._wait()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def _wait(self) -> None:
        try:
            while not self._released.is_set():
                activity.heartbeat()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._released.wait(), 0.5)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


@dataclass
class Call:
    """How a caller's activity is scheduled; seconds."""

    heartbeat_timeout: float | None = 20
    schedule_to_close: float = 60
    wait_for_cancellation: bool = False
    backoff: float = 0.2
    max_attempts: int = 0
    activity_id: str | None = None


@dataclass
class Attempt:
    """One attempt of the caller's activity: what it would hand to StartAgent."""

    token: bytes
    workflow_id: str
    run_id: str
    activity_id: str
    number: int

    def bind(self, heartbeat_timeout: float | None = None, **fields: Any) -> Bind:
        """The bind as the API sends it, with the identity declared."""
        caller = TemporalCaller(
            workflow_id=self.workflow_id, run_id=self.run_id, activity_id=self.activity_id
        )
        if heartbeat_timeout is not None:
            caller.heartbeat_timeout.FromTimedelta(timedelta(seconds=heartbeat_timeout))
        values: dict[str, Any] = {
            "token": self.token,
            "spec_digest": DIGEST,
            "caller": caller,
        } | fields
        bind = Bind(**values)
        if not bind.HasField("deadline"):
            bind.deadline.FromDatetime(datetime.now(UTC) + timedelta(seconds=60))
        return bind


class CallerActivities:
    """Hands its token to the test and goes pending; or fails first, `failures` times."""

    def __init__(self) -> None:
        self.attempts: asyncio.Queue[Attempt] = asyncio.Queue()
        self.failures = 0

    @activity.defn
    async def wait_for_agent(self) -> None:
        info = activity.info()
        await self.attempts.put(
            Attempt(
                info.task_token,
                info.workflow_id or "",
                info.workflow_run_id or "",
                info.activity_id,
                info.attempt,
            )
        )
        if self.failures:
            self.failures -= 1
            raise ApplicationError("a failed attempt")
        activity.raise_complete_async()


@workflow.defn
class Caller:
    """Calls an agent and returns the result in plain JSON."""

    @workflow.run
    async def run(self, call: Call) -> dict[str, Any]:
        return await _call_agent(call)


@workflow.defn
class ParallelCaller:
    """Calls twice at a time; a signal cancels its first call."""

    def __init__(self) -> None:
        self._calls: list[asyncio.Task[dict[str, Any]]] = []

    @workflow.run
    async def run(self, calls: list[Call]) -> list[dict[str, Any]]:
        self._calls = [asyncio.create_task(_call_agent(call)) for call in calls]
        return list(await asyncio.gather(*self._calls))

    @workflow.signal
    def cancel_first(self) -> None:
        self._calls[0].cancel()


async def _call_agent(call: Call) -> dict[str, Any]:
    def seconds(value: float | None) -> timedelta | None:
        return None if value is None else timedelta(seconds=value)

    try:
        result = await workflow.execute_activity(
            "wait_for_agent",
            result_type=AgentExecution,
            activity_id=call.activity_id,
            schedule_to_close_timeout=seconds(call.schedule_to_close),
            heartbeat_timeout=seconds(call.heartbeat_timeout),
            retry_policy=RetryPolicy(
                initial_interval=timedelta(seconds=call.backoff),
                backoff_coefficient=1.0,
                maximum_attempts=call.max_attempts,
            ),
            cancellation_type=(
                workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
                if call.wait_for_cancellation
                else workflow.ActivityCancellationType.TRY_CANCEL
            ),
        )
    except ActivityError as error:
        cause = error.cause
        if isinstance(cause, CancelledError):
            return {"cancelled": True, "details": list(cause.details)}
        assert isinstance(cause, ApplicationError), repr(cause)
        return {"error": cause.type, "message": cause.message, "details": cause.details[0]}
    # The payload says which kind of execution it is; the type above is only a hint.
    output = result.status.output
    text = output.text if isinstance(output, AgentOutput) else output.json
    return {
        "id": result.id,
        "phase": phase_of(result),
        "text": text[:100],
        "letters": len(text),
    }


class Sender(CallbackSender):
    """The orchestrator's own, which a test can hold up before its RPC."""

    def __init__(self, client: Client, metrics: CallbackMetrics) -> None:
        super().__init__(client, metrics)
        self.sending = asyncio.Event()
        self.requests: list[DeliverCallbackRequest] = []
        self._released = asyncio.Event()
        self._released.set()

    def hold(self) -> None:
        self._released.clear()

    def release(self) -> None:
        self._released.set()

    @activity.defn(name=DELIVER_CALLBACK)
    async def deliver_callback(self, request: DeliverCallbackRequest) -> DeliverCallbackResponse:
        self.requests.append(request)
        self.sending.set()
        await self._released.wait()
        return await super().deliver_callback(request)


@dataclass
class Orchestrator:
    """The orchestrator under test, its fake model and the caller's activity."""

    client: Client
    queues: TaskQueues
    model: Model
    caller: CallerActivities
    sender: Sender
    new_worker: Callable[[], Worker]
    looks: CountedLooks
    started: list[WorkflowHandle[Any, Any]] = field(default_factory=list)

    cancelled_error: ClassVar = "AGENT_EXECUTION_CANCELLED"
    """Type of the caller's error."""
    output: ClassVar = "42"
    """The output as a caller has it."""
    scheduled_activities: ClassVar = 2
    """Number of activities scheduled once a delivery is retried."""
    broken_without: ClassVar = (Conversation, "add")
    """A method without which workflow tasks fail."""

    async def call(
        self, call: Call | None = None, workflow_id: str = ""
    ) -> tuple[WorkflowHandle[Any, Any], Attempt]:
        """Start a caller and wait until its activity has its token."""
        handle = await self.client.start_workflow(
            Caller.run,
            call or Call(),
            id=workflow_id or f"caller-{uuid.uuid4()}",
            task_queue=self.queues.engine,
            execution_timeout=timedelta(minutes=2),
        )
        return handle, await self.caller.attempts.get()

    async def pair(self, one: Call, two: Call) -> tuple[WorkflowHandle[Any, Any], Attempt, Attempt]:
        """Start a caller of two activities, named "one" and "two"; wait for both tokens."""
        calls = [replace(one, activity_id="one"), replace(two, activity_id="two")]
        handle = await self.client.start_workflow(
            ParallelCaller.run,
            calls,
            id=f"caller-{uuid.uuid4()}",
            task_queue=self.queues.engine,
            execution_timeout=timedelta(minutes=2),
        )
        found = [await self.caller.attempts.get() for _ in calls]
        first, second = sorted(found, key=lambda attempt: attempt.activity_id)
        return handle, first, second

    async def start(
        self,
        bind: Bind | None = None,
        *,
        agent: AgentSpec | None = None,
        timeout: float = 60,
        memo: Mapping[str, Any] | None = None,
        **spec: Any,
    ) -> WorkflowHandle[AgentWorkflow, AgentExecution]:
        """Start an agent as the API does: signal-with-start of the first bind."""
        execution_id = f"agent-{uuid.uuid4().hex}"
        spec = {"message": "What is six times seven?", "request_id": "request-1"} | spec
        request = AgentWorkflowInput(
            execution_id=execution_id,
            spec=AgentExecutionSpec(agent=agent or AgentSpec(model="local:test"), **spec),
            spec_digest=DIGEST,
        )
        request.deadline.FromDatetime(datetime.now(UTC) + timedelta(seconds=timeout))
        handle = await self.client.start_workflow(
            AgentWorkflow.run,
            request,
            id=execution_id,
            task_queue=self.queues.orchestrator,
            execution_timeout=timedelta(minutes=3),
            start_signal="bind" if bind else None,
            start_signal_args=[bind] if bind else [],
            memo=memo,
        )
        self.started.append(handle)
        return handle

    async def start_held(self, bind: Bind) -> WorkflowHandle[AgentWorkflow, AgentExecution]:
        """Start an agent whose model call does not end."""
        self.model.hold()
        return await self.start(bind)

    async def has_worked(self, handle: WorkflowHandle[Any, Any]) -> bool:
        """Return whether an agent has called its model."""
        return any(request.execution_id == handle.id for request in self.model.requests)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the worker of executions; `stopped` interrupts it."""
        self._worker = self.new_worker()
        self._run = asyncio.create_task(self._worker.run())
        try:
            yield
        finally:
            await self._worker.shutdown()
            await self._run

    @contextlib.asynccontextmanager
    async def stopped(self) -> AsyncIterator[None]:
        """Run no worker meanwhile: all events reach the executions in one workflow task."""
        await self._worker.shutdown()
        await self._run
        yield
        self._worker = self.new_worker()
        self._run = asyncio.create_task(self._worker.run())

    async def outcome(self, handle: WorkflowHandle[Any, Any]) -> AgentExecution:
        """Return the closed execution of an agent."""
        return await closed_execution(handle, AgentExecution, errors.execution_from_details)

    async def replay(self) -> None:
        """Replay every execution of the test: its history must lead through the same code."""
        workflows = [AgentWorkflow, WorkflowExecutionWorkflow]
        replayer = Replayer(workflows=workflows, data_converter=DATA_CONVERTER)
        for handle in self.started:
            run_id = handle.first_execution_run_id
            first = self.client.get_workflow_handle(handle.id, run_id=run_id)
            await replayer.replay_workflow(await first.fetch_history())


async def closed_execution(
    handle: WorkflowHandle[Any, Any],
    execution_type: type[ExecutionT],
    from_details: Callable[[object], ExecutionT | None],
) -> ExecutionT:
    """Return an execution once it is closed, read as the API reads it, whatever it closed as."""
    try:
        result: ExecutionT = await handle.result()
    except WorkflowFailureError as error:
        if isinstance(error.cause, CancelledError):
            described = (await handle.describe()).raw_description
            memo = described.workflow_execution_info.memo.fields["execution"]
            return payloads.from_raw(RawValue(memo), execution_type)
        cause = cast("ApplicationError", error.cause)
        execution = from_details(cause.details[0])
        if execution is None or cause.type != errors.ErrorType.of(execution):
            raise
        return execution
    return result


async def until(
    handle: WorkflowHandle[Any, Any], *types: EventType.ValueType, count: int = 1
) -> HistoryEvent:
    """Wait for an event of one of these types in a run's history, by long poll."""
    seen = 0
    async for event in handle.fetch_history_events(wait_new_event=True):
        seen += event.event_type in types
        if seen == count:
            return event
    raise AssertionError(f"{handle.id} closed without {types}")


def state_of(execution: Execution) -> str:
    name = CallbackState.Name(execution.status.callback.state)
    return name.removeprefix("CALLBACK_STATE_")


def phase_of(execution: Execution) -> str:
    return executions.phase_name(execution)


def reason_of(execution: Execution) -> str:
    return errors.reason_name(execution.status.failure.reason)
