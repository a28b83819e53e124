"""Executions in every situation that is diagnosed: each does what its message says, and stays."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from services.stigma_api.tests.api_server import Api
from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_COMPLETED,
    AgentExecution,
    CallbackState,
    Usage,
)
from stigma.contracts import search_attributes, tokens, workflows
from stigma.contracts.activities import (
    CallbackActivities,
    CallerWatchActivities,
    ModelActivities,
)
from stigma.contracts.engine_calls import WAIT_EXACTLY
from stigma.contracts.task_queues import TaskQueues
from stigma.diagnosis.v1 import diagnosis_service_pb2 as pb
from stigma.diagnosis.v1.diagnosis_service_pb2_grpc import DiagnosisServiceStub
from stigma.internal.v1.execution_pb2 import (
    CALLER_VERDICT_GONE,
    DELIVERY_VERDICT_DELIVERED,
    DELIVERY_VERDICT_NOT_FOUND,
    DELIVERY_VERDICT_UNDELIVERABLE,
    AgentWorkflowInput,
    Bind,
    ConverseRequest,
    ConverseResponse,
    DeliverCallbackRequest,
    DeliverCallbackResponse,
    ModelCallRequest,
    ModelCallResponse,
    WatchCallerRequest,
    WatchCallerResponse,
    WorkflowExecutionInput,
)
from stigma.workflow.v1.workflow_execution_pb2 import (
    WORKFLOW_EXECUTION_PHASE_COMPLETED,
    WorkflowExecution,
)

_MINUTE = timedelta(minutes=1)
_NOBODY = "nobody-s-queue"
_HEARTBEATS = timedelta(seconds=4)
"""Timeout of heartbeats, sent twenty times as often: a worker that is late is not lost."""


@workflow.defn(name="AgentWorkflow")
class StagedAgent(workflows.AgentWorkflow):
    """Plays the words of its message, one after the other, then waits to be told to end."""

    def __init__(self) -> None:
        self._binds: list[Bind] = []
        self._done = False
        self._usage = Usage()
        self._steps = 0

    @workflow.signal(name="bind")
    def bind(self, bind: Bind) -> None:
        self._binds.append(bind)

    @workflow.signal
    def end(self) -> None:
        self._done = True

    @workflow.query(name="execution")
    def execution(self) -> AgentExecution:
        return AgentExecution()

    @workflow.run
    async def run(self, request: AgentWorkflowInput) -> AgentExecution:
        self._binds = [*request.carried.bindings, *self._binds]
        self._usage.CopyFrom(request.carried.usage)
        self._steps = request.carried.steps
        queues = TaskQueues.from_orchestrator(workflow.info().task_queue)
        words = request.spec.message.split()
        first = words.index("continue") + 1 if request.carried.steps else 0
        for word in words[first:]:
            await self._play(word, queues, request)
        await workflow.wait_condition(lambda: self._done)
        execution = AgentExecution(id=request.execution_id)
        execution.status.phase = AGENT_EXECUTION_PHASE_COMPLETED
        execution.status.usage.CopyFrom(self._usage)
        execution.status.callback.state = CallbackState.CALLBACK_STATE_DELIVERED
        return execution

    async def _play(self, word: str, queues: TaskQueues, request: AgentWorkflowInput) -> None:
        match word.partition(":")[0]:
            case "call":
                self._steps += 1
                await self._call(word.partition(":")[2], queues)
            case "continue":
                request.carried.bindings.extend(self._binds)
                request.carried.usage.CopyFrom(self._usage)
                request.carried.steps = self._steps
                workflow.continue_as_new(request)
            case "deliver":
                await self._deliver(word.partition(":")[2])
            case "bound":
                count = int(word.partition(":")[2])
                await workflow.wait_condition(lambda: len(self._binds) >= count)
            case "locally":
                # To everybody who is bound, not to the newest alone.
                for bind in self._binds or [Bind(token=b"nobody")]:
                    await workflow.execute_local_activity_method(
                        CallbackActivities.deliver_callback,
                        DeliverCallbackRequest(token=bind.token, request_id="DELIVERED"),
                        schedule_to_close_timeout=_MINUTE,
                    )
            case "watch":
                await workflow.execute_activity_method(
                    CallerWatchActivities.watch_caller,
                    WatchCallerRequest(),
                    task_queue=queues.watch,
                    schedule_to_close_timeout=_MINUTE,
                )
            case "ask":
                noted = search_attributes.PHASE.value_set("INPUT_REQUIRED")
                workflow.upsert_search_attributes([noted])
            case "break":
                raise RuntimeError("a bug, with a secret prompt")

    async def _call(self, how: str, queues: TaskQueues) -> None:
        request = ModelCallRequest(step=self._steps, model="scripted:demo", message=how)
        try:
            answer = await workflow.execute_activity_method(
                ModelActivities.call_model,
                request,
                task_queue=queues.ai,
                start_to_close_timeout=_MINUTE,
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise asyncio.CancelledError from None
            return
        self._usage.input_tokens += answer.usage.input_tokens
        self._usage.model_calls += 1

    async def _deliver(self, how: str) -> None:
        # The token of a delivery by id is in no request: the execution says whom it is for.
        delivery = DeliverCallbackRequest(request_id=how)
        if how.startswith("BY_ID"):
            fingerprint = tokens.fingerprint(self._token())
            delivery.execution.status.callback.fingerprint = fingerprint
        else:
            delivery.token = self._token()
        try:
            await workflow.execute_activity_method(
                CallbackActivities.deliver_callback, delivery, start_to_close_timeout=_MINUTE
            )
        except ActivityError:
            return

    def _token(self) -> bytes:
        return self._binds[-1].token if self._binds else b"nobody"


@workflow.defn(name="WorkflowExecutionWorkflow")
class StagedWorkflow(workflows.WorkflowExecutionWorkflow):
    """Runs its document on the engine."""

    @workflow.signal(name="bind")
    def bind(self, bind: Bind) -> None:
        """Nobody is called back."""

    @workflow.query(name="execution")
    def execution(self, with_request: bool = True) -> WorkflowExecution:
        return WorkflowExecution()

    @workflow.run
    async def run(self, request: WorkflowExecutionInput) -> WorkflowExecution:
        queues = TaskQueues.from_orchestrator(workflow.info().task_queue)
        run_id = f"run-{request.execution_id.partition('-')[2]}"
        document = request.spec.workflow.document
        await workflow.execute_child_workflow(
            "staged-document", document, id=run_id, task_queue=queues.engine
        )
        execution = WorkflowExecution(id=request.execution_id)
        execution.status.phase = WORKFLOW_EXECUTION_PHASE_COMPLETED
        return execution


@workflow.defn(name="staged-document")
class StagedDocument:
    """What the engine would run."""

    @workflow.run
    async def run(self, document: str) -> None:
        if document == "fails":
            raise ApplicationError(
                "a secret", type="https://serverlessworkflow.io/spec/1.0.0/errors/communication"
            )
        if document == "calls":
            await self._call("call_grpc", "/do/0/ask")
            with contextlib.suppress(ActivityError):
                await self._call("call_openapi", "/do/1/order")
            await self._call("call_agent", "reviewer /do/2/review")
            await self._call("wait_exactly", "no call")
            await asyncio.sleep(0.1)
            unused = asyncio.create_task(asyncio.sleep(3600))
            await asyncio.sleep(0.1)
            unused.cancel()
            workflow.continue_as_new("retries")
        if document == "retries":
            limit = asyncio.create_task(asyncio.sleep(3600))
            await self._call("call_http", "/do/0/fetch")
            limit.cancel()

        if document == "tries again":
            with contextlib.suppress(ActivityError):
                await self._call("call_openapi", "/do/0/order")
            await asyncio.sleep(3600)
        if document == "times out":
            late = asyncio.create_task(self._call("call_http", "/do/0/fetch"))
            await asyncio.wait([late], timeout=0.1)
            raise ApplicationError("a secret", {"status": 408}, type="https://x.example/timeout")
        if document == "caught":
            await self._until("timeout /do/0/a/try/0/b", "/do/0/a/try/0/b")
            await self._until("wait /do/1/a", "/do/1/b")
            await self._until("timeout /do/2/a", "/do/2/b")
            await self._until("", "/do/3/a")
            short = asyncio.create_task(self._call("call_http", "/do/4/a/b", task_queue=_NOBODY))
            await self._call("wait", "timeout /do/4/a")
            await _cancelled(short)
            with contextlib.suppress(ActivityError):
                await self._call("call_openapi", "/do/5/order")
            await workflow.sleep(0.1, summary="retry /do/5/order (try 2 of 3)")
            await self._call("call_grpc", "/do/5/order (try 2 of 3)")
            await workflow.sleep(3600, summary="wait /do/6/pause")
        if document == "many":
            await asyncio.gather(*(asyncio.sleep(3600) for _ in range(23)))
        if document == "loses":
            await self._call("fetch_resource", "/do/0/read", heartbeat_timeout=_HEARTBEATS)

    async def _until(self, summary: str, task: str) -> None:
        """Make a call that no worker takes, and cancel it when a timer has fired."""
        call = asyncio.create_task(self._call("call_http", task, task_queue=_NOBODY))
        await workflow.sleep(0.1, summary=summary)
        await _cancelled(call)

    async def _call(
        self,
        name: str,
        summary: str | None = None,
        *,
        heartbeat_timeout: timedelta | None = None,
        task_queue: str | None = None,
    ) -> None:
        await workflow.execute_activity(
            name,
            start_to_close_timeout=_MINUTE,
            heartbeat_timeout=heartbeat_timeout,
            summary=summary,
            task_queue=task_queue,
        )


async def _cancelled(call: asyncio.Task[None]) -> None:
    call.cancel()
    with contextlib.suppress(ActivityError):
        await call


class Staged(ModelActivities, CallbackActivities, CallerWatchActivities):
    """Does what a request says."""

    def __init__(self) -> None:
        self.release = asyncio.Event()

    @activity.defn(name="call_model")
    async def call_model(self, request: ModelCallRequest) -> ModelCallResponse:
        """Answer; or hold the slot, or fail with the named reason and wait long before the next."""
        match request.message.split("!"):
            case ["HOLD"]:
                await self.release.wait()
            case [reason, "final"]:
                raise ApplicationError("a secret prompt", type=reason, non_retryable=True)
            case [reason] if reason:
                raise ApplicationError("a secret prompt", type=reason, next_retry_delay=_MINUTE)
        return ModelCallResponse(usage=Usage(input_tokens=1200, output_tokens=4, model_calls=1))

    @activity.defn(name="converse")
    async def converse(self, request: ConverseRequest) -> ConverseResponse:
        raise NotImplementedError

    @activity.defn(name="deliver_callback")
    async def deliver_callback(self, request: DeliverCallbackRequest) -> DeliverCallbackResponse:
        """Answer the verdict asked for, or fail."""
        verdicts = {
            "DELIVERED": DELIVERY_VERDICT_DELIVERED,
            "BY_ID": DELIVERY_VERDICT_DELIVERED,
            "NOT_FOUND": DELIVERY_VERDICT_NOT_FOUND,
            "UNDELIVERABLE": DELIVERY_VERDICT_UNDELIVERABLE,
        }
        if request.request_id in verdicts:
            return DeliverCallbackResponse(
                verdict=verdicts[request.request_id],
                fingerprint=tokens.fingerprint(request.token),
            )
        reason, _, final = request.request_id.partition("!")
        raise ApplicationError(
            "a secret output", type=reason, non_retryable=bool(final), next_retry_delay=_MINUTE
        )

    @activity.defn(name="deliver_workflow_callback")
    async def deliver_workflow_callback(
        self, request: DeliverCallbackRequest
    ) -> DeliverCallbackResponse:
        return await self.deliver_callback(request)

    @activity.defn(name="watch_caller")
    async def watch_caller(self, request: WatchCallerRequest) -> WatchCallerResponse:
        """Find that the caller is gone."""
        return WatchCallerResponse(verdict=CALLER_VERDICT_GONE)

    @activity.defn
    async def call_http(self) -> None:
        """Fail as an activity of a document does."""
        problem = {"status": 500, "detail": "a secret"}
        raise ApplicationError("a secret", problem, type="communication", next_retry_delay=_MINUTE)

    @activity.defn
    async def fetch_resource(self) -> None:
        """Say nothing, as a lost worker does; at the second attempt, that it is at work."""
        while not self.release.is_set():
            if activity.info().attempt > 1:
                activity.heartbeat()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    await self.release.wait()

    @activity.defn
    async def call_openapi(self) -> None:
        """Fail for good."""
        problem = {"status": 408, "detail": "a secret"}
        kind = "https://x.example/timeout"
        raise ApplicationError("a secret", problem, type=kind, non_retryable=True)

    @activity.defn
    async def call_grpc(self) -> str:
        """Answer at once."""
        return "a secret"

    @activity.defn
    async def call_agent(self) -> AgentExecution:
        """Answer as the agent's callback does."""
        return AgentExecution(id="agent-of-a-document")

    @activity.defn
    async def wait_exactly(self) -> None:
        """Wait no time."""

    @activity.defn(name=WAIT_EXACTLY)
    async def wait(self) -> None:
        """Wait no time, as the engine does for less than a second."""


def diagnosis(api: Api) -> Any:
    """The service under test."""
    return DiagnosisServiceStub(api.channel)


async def timeline_of(api: Api, execution_id: str) -> pb.ExecutionTimeline:
    """Call GetExecutionTimeline."""
    request = pb.GetExecutionTimelineRequest(id=execution_id)
    timeline: pb.ExecutionTimeline = await diagnosis(api).GetExecutionTimeline(request, timeout=15)
    assert b"secret" not in timeline.SerializeToString()
    return timeline


def worker(client: Any, queue: str, staged: Staged, **options: Any) -> Worker:
    """A worker of one task queue that plays everything."""
    return Worker(
        client,
        task_queue=queue,
        workflows=[StagedAgent, StagedWorkflow, StagedDocument],
        activities=[
            staged.call_model,
            staged.deliver_callback,
            staged.watch_caller,
            staged.call_http,
            staged.fetch_resource,
            staged.call_openapi,
            staged.call_grpc,
            staged.call_agent,
            staged.wait_exactly,
            staged.wait,
        ],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_heartbeat_throttle_interval=_HEARTBEATS / 20,
        **options,
    )
