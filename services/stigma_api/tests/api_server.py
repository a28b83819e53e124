"""The API on a free port, and the small worlds around it: an agent workflow and waiting callers."""

from __future__ import annotations

import asyncio
import re
import urllib.request
import uuid
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_status import rpc_status
from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_CANCELLED,
    AGENT_EXECUTION_PHASE_COMPLETED,
    AGENT_EXECUTION_PHASE_FAILED,
    AGENT_EXECUTION_PHASE_RUNNING,
    ROLE_MODEL,
    ROLE_USER,
    AgentExecution,
    Failure,
    Message,
    Part,
    TemporalCaller,
    Usage,
)
from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.agent.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub
from stigma.agent.v1.agent_pb2 import (
    FAILURE_REASON_CANCELLED,
    FAILURE_REASON_STEP_LIMIT,
    Agent,
    AgentSpec,
)
from stigma.agent.v1.agent_service_pb2 import ApplyAgentRequest
from stigma.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from stigma.contracts import errors, search_attributes, workflows
from stigma.contracts.activities import CallbackActivities, ModelActivities
from stigma.contracts.task_queues import TaskQueues
from stigma.internal.v1.execution_pb2 import (
    AgentWorkflowInput,
    Bind,
    DeliverCallbackRequest,
    DeliverCallbackResponse,
    ModelCallRequest,
    ModelCallResponse,
    WatchCallerRequest,
    WatchCallerResponse,
)
from stigma.runtime import GrpcServerComponent, ServiceRuntime
from stigma.workflow.v1.workflow_execution_service_pb2_grpc import WorkflowExecutionServiceStub
from stigma.workflow.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from stigma_api.access.principals import Principals
from stigma_api.http_server import ConsoleServer
from stigma_api.server import build
from stigma_api.settings import ApiSettings
from tests.stack.waiting import eventually

SCRIPTED = AgentSpec(model="scripted:demo", env=["CITY"], allowed_models=["scripted:other"])


@dataclass
class Api:
    """A running API and a channel to it."""

    runtime: ServiceRuntime
    port: int
    queues: TaskQueues
    channel: grpc.aio.Channel
    console: ConsoleServer | None = None
    agents: Any = field(init=False)
    executions: Any = field(init=False)
    workflows: Any = field(init=False)
    workflow_executions: Any = field(init=False)

    def __post_init__(self) -> None:
        self.agents = AgentServiceStub(self.channel)
        self.executions = AgentExecutionServiceStub(self.channel)
        self.workflows = WorkflowServiceStub(self.channel)
        self.workflow_executions = WorkflowExecutionServiceStub(self.channel)

    async def apply(self, name: str, spec: AgentSpec = SCRIPTED) -> Agent:
        applied: Agent = await self.agents.ApplyAgent(
            ApplyAgentRequest(agent=Agent(name=name, spec=spec))
        )
        return applied


@asynccontextmanager
async def serving(
    temporal_address: str,
    directory: Path,
    *,
    principals: Principals | None = None,
    credentials: grpc.ChannelCredentials | None = None,
    **settings: Any,
) -> AsyncIterator[Api]:
    """Serve in this process, as `python -m stigma_api` does."""
    given = {
        "api_port": 0,
        "registry_url": f"sqlite+aiosqlite:///{directory}/registry.db",
        "task_queue_prefix": f"{uuid.uuid4().hex[:8]}-",
        "cluster_metrics_interval": 0,  # what these tests count is what their calls cost
        **settings,
    }
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TEMPORAL_ADDRESS", temporal_address)
        own = ApiSettings(**given)
        runtime = ServiceRuntime("stigma_api", own)
        server, *others = await build(runtime, settings=own, principals=principals)
    assert isinstance(server, GrpcServerComponent)
    for component in (server, *others):
        await component.start()
    address = f"localhost:{server.port}"
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    channel = (
        grpc.aio.secure_channel(address, credentials, options)
        if credentials
        else grpc.aio.insecure_channel(address.replace("localhost", "127.0.0.1"), options)
    )
    async with channel:
        queues = TaskQueues(own.task_queue_prefix)
        console = next((one for one in others if isinstance(one, ConsoleServer)), None)
        yield Api(
            runtime=runtime, port=server.port, queues=queues, channel=channel, console=console
        )
    for component in (server, *others):
        await component.stop(timedelta(seconds=1))
    await runtime.close()


async def requests_to_temporal(api: Api) -> Counter[str]:
    """How often the API has called Temporal, by operation, as the SDK counts it."""
    address = api.runtime._temporal.metrics_address
    reply = await asyncio.to_thread(urllib.request.urlopen, f"http://{address}/metrics")
    with reply:
        lines = reply.read().decode().splitlines()
    counts: Counter[str] = Counter()
    for line in lines:
        found = re.match(r'temporal_(?:long_)?request_total\{.*operation="(\w+)".* (\d+)$', line)
        if found:
            counts[found[1]] += int(found[2])
    return counts


@asynccontextmanager
async def refused(code: grpc.StatusCode) -> AsyncIterator[Refusal]:
    """Expect an RPC to answer this code."""
    refusal = Refusal()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield refusal
    refusal.error = caught.value
    assert caught.value.code() == code, caught.value


class Refusal:
    """What an RPC answered instead of succeeding."""

    error: grpc.aio.AioRpcError

    @property
    def message(self) -> str:
        return self.error.details() or ""

    @property
    def fields(self) -> list[str]:
        [violations] = self._details(BadRequest)
        return [violation.field for violation in violations.field_violations]

    @property
    def reason(self) -> str:
        [info] = self._details(ErrorInfo)
        return str(info.reason)

    @property
    def retry_after(self) -> timedelta:
        [info] = self._details(RetryInfo)
        delay: timedelta = info.retry_delay.ToTimedelta()
        return delay

    def _details(self, kind: Any) -> list[Any]:
        status = rpc_status.from_call(self.error)
        found = []
        for packed in status.details if status else ():
            if packed.Is(kind.DESCRIPTOR):
                detail = kind()
                packed.Unpack(detail)
                found.append(detail)
        return found


@workflow.defn(name="AgentWorkflow")
class PlayedAgent(workflows.AgentWorkflow):
    """Does what its message says, within the contract of the real one."""

    def __init__(self) -> None:
        self._binds: list[bytes] = []
        self._execution = AgentExecution()
        self._told = ""

    @workflow.signal(name="bind")
    def bind(self, bind: Bind) -> None:
        self._binds.append(bind.token)

    @workflow.signal
    def tell(self, what: str) -> None:
        self._told = what

    @workflow.query(name="execution")
    def execution(self) -> AgentExecution:
        return self._execution

    @workflow.query
    def bindings(self) -> int:
        return len(self._binds)

    @workflow.run
    async def run(self, request: AgentWorkflowInput) -> AgentExecution:
        self._binds = [bind.token for bind in request.carried.bindings] + self._binds
        execution = self._execution
        execution.id = request.execution_id
        execution.spec.CopyFrom(request.spec)
        execution.status.phase = AGENT_EXECUTION_PHASE_RUNNING
        execution.status.steps = request.carried.steps
        execution.status.messages.append(_said(ROLE_USER, request.spec.message))
        try:
            await self._call_model(request.carried.steps + 1)
            await workflow.wait_condition(lambda: bool(self._told))
        except asyncio.CancelledError:
            execution.status.phase = AGENT_EXECUTION_PHASE_CANCELLED
            execution.status.failure.CopyFrom(
                Failure(reason=FAILURE_REASON_CANCELLED, message="as asked")
            )
            if request.spec.message != "cancel silently":
                workflow.upsert_memo({"execution": _without_task(execution)})
            raise
        match self._told:
            case "continue as new":
                carried = AgentWorkflowInput()
                carried.CopyFrom(request)
                carried.carried.steps = execution.status.steps
                carried.carried.bindings.extend(Bind(token=token) for token in self._binds)
                workflow.continue_as_new(carried)
            case "fail":
                execution.status.phase = AGENT_EXECUTION_PHASE_FAILED
                failure = Failure(
                    reason=FAILURE_REASON_STEP_LIMIT, message="too many", step="model_call 2"
                )
                execution.status.failure.CopyFrom(failure)
                workflow.upsert_search_attributes([search_attributes.PHASE.value_set("FAILED")])
                raise ApplicationError(
                    "failed",
                    errors.failure_details(_without_task(execution)),
                    type=errors.ErrorType.FAILED,
                )
            case "break":
                raise ApplicationError("a secret prompt", type="SomethingElse")
            case "deliver":
                await workflow.execute_local_activity_method(
                    CallbackActivities.deliver_callback,
                    DeliverCallbackRequest(token=self._binds[-1]),
                    start_to_close_timeout=timedelta(seconds=5),
                )
                await workflow.execute_activity_method(
                    CallbackActivities.deliver_callback,
                    DeliverCallbackRequest(token=self._binds[-1]),
                    start_to_close_timeout=timedelta(seconds=5),
                )
        execution.status.phase = AGENT_EXECUTION_PHASE_COMPLETED
        execution.status.output.text = self._told
        return _without_task(execution)

    async def _call_model(self, step: int) -> None:
        try:
            answer = await workflow.execute_activity_method(
                ModelActivities.call_model,
                ModelCallRequest(
                    step=step, model="scripted:demo", message=self._execution.spec.message
                ),
                start_to_close_timeout=timedelta(seconds=30),
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise asyncio.CancelledError from None
            return  # how it failed is told by the history
        self._execution.status.steps = step
        self._execution.status.messages.append(answer.message)


class PlayedModel(ModelActivities, CallbackActivities):
    """Answers every call; fails when the message says so."""

    @activity.defn(name="call_model")
    async def call_model(self, request: ModelCallRequest) -> ModelCallResponse:
        if request.message == "model fails":
            raise ApplicationError("out of context", type="CONTEXT_LENGTH", non_retryable=True)
        usage = Usage(input_tokens=3, output_tokens=5, model_calls=1)
        return ModelCallResponse(message=_said(ROLE_MODEL, f"step {request.step}"), usage=usage)

    @activity.defn(name="deliver_callback")
    async def deliver_callback(self, request: DeliverCallbackRequest) -> DeliverCallbackResponse:
        return DeliverCallbackResponse()

    @activity.defn(name="deliver_workflow_callback")
    async def deliver_workflow_callback(
        self, request: DeliverCallbackRequest
    ) -> DeliverCallbackResponse:
        return await self.deliver_callback(request)

    @activity.defn(name="watch_caller")
    async def watch_caller(self, request: WatchCallerRequest) -> WatchCallerResponse:
        return WatchCallerResponse()


@workflow.defn
class Waiting:
    """A caller: its one activity waits for somebody else to complete it."""

    @workflow.run
    async def run(self) -> str:
        result: str = await workflow.execute_activity(
            "wait_for_agent",
            start_to_close_timeout=timedelta(seconds=60),
            heartbeat_timeout=timedelta(seconds=60),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            result_type=str,
        )
        return result


class Callers:
    """Starts workflows whose activity waits, and hands out its token."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.task_queue = f"callers-{uuid.uuid4().hex[:8]}"
        # By run: an activity left waiting by another test is attempted again when it times out.
        self._waiting: defaultdict[str, asyncio.Queue[activity.Info]] = defaultdict(asyncio.Queue)

    @activity.defn
    async def wait_for_agent(self) -> None:
        info = activity.info()
        assert info.workflow_run_id
        await self._waiting[info.workflow_run_id].put(info)
        activity.raise_complete_async()

    async def start(self, prefix: str = "caller", after: Caller | None = None) -> Caller:
        """Start a workflow, or another run of the one before: its activity's next token."""
        if after is not None:
            await after.handle.terminate()
        handle: WorkflowHandle[Any, str] = await self.client.start_workflow(
            Waiting.run,
            id=after.handle.id if after else f"{prefix}-{uuid.uuid4()}",
            task_queue=self.task_queue,
        )
        assert handle.first_execution_run_id
        return await self.of(handle, handle.first_execution_run_id)

    async def reset(self, caller: Caller) -> Caller:
        """Reset a caller's workflow: another run goes on, whose activity waits as well."""
        handle = caller.handle
        await handle.signal("poke")  # one more workflow task, which a reset can go back to

        async def second_task() -> int:
            completed = [
                event.event_id
                for event in (await handle.fetch_history()).events
                if event.HasField("workflow_task_completed_event_attributes")
            ]
            return completed[1] if len(completed) > 1 else 0

        poked = await eventually(second_task, what="the caller's second workflow task")
        reset = await self.client.workflow_service.reset_workflow_execution(
            ResetWorkflowExecutionRequest(
                namespace="default",
                workflow_execution=WorkflowExecution(workflow_id=handle.id),
                workflow_task_finish_event_id=poked,
                request_id=str(uuid.uuid4()),
            )
        )
        return await self.of(self.client.get_workflow_handle(handle.id), reset.run_id)

    async def of(self, handle: WorkflowHandle[Any, str], run_id: str) -> Caller:
        """The caller in this run, once its activity waits."""
        async with asyncio.timeout(20):
            return Caller(handle, await self._waiting[run_id].get())


@dataclass(frozen=True)
class Caller:
    """A workflow whose activity waits."""

    handle: WorkflowHandle[Any, str]
    info: activity.Info

    @property
    def token(self) -> bytes:
        return self.info.task_token

    def request(self, of: Any = StartAgentRequest, **fields: Any) -> Any:
        caller = TemporalCaller(
            workflow_id=self.info.workflow_id or "",
            run_id=self.info.workflow_run_id or "",
            activity_id=self.info.activity_id,
        )
        return of(callback_token=self.token, caller=caller, **fields)


def _said(role: Any, text: str) -> Message:
    return Message(role=role, parts=[Part(text=text)])


def _without_task(execution: AgentExecution) -> AgentExecution:
    shown = AgentExecution()
    shown.CopyFrom(execution)
    shown.status.ClearField("messages")
    for private in ("message", "input_json", "env"):
        shown.spec.ClearField(private)
    return shown
