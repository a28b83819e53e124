"""Callers of workflow executions, ours and a foreign one, and the documents that they run.

They ask for a job as the callers of agents do: `agent` names the workflow, the message is its
input.
"""

from __future__ import annotations

import json
import uuid
from contextlib import AsyncExitStack
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import grpc.aio
from temporalio import activity, workflow
from temporalio.client import WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from stigma.agent.v1.agent_execution_pb2 import CALLBACK_STATE_WAITING
    from stigma.contracts import engine, ids
    from stigma.contracts.executions import Kind
    from stigma.contracts.phases import has_ended
    from stigma.workflow.v1.workflow_execution_pb2 import (
        WORKFLOW_EXECUTION_PHASE_COMPLETED,
        WorkflowExecution,
    )
    from stigma.workflow.v1.workflow_execution_service_pb2 import (
        CancelWorkflowExecutionRequest,
        GetWorkflowExecutionRequest,
        ListWorkflowExecutionsRequest,
        StartWorkflowRequest,
    )
    from stigma.workflow.v1.workflow_execution_service_pb2_grpc import (
        WorkflowExecutionServiceStub,
    )
    from stigma.workflow.v1.workflow_pb2 import Workflow, WorkflowConfig, WorkflowSpec
    from stigma.workflow.v1.workflow_service_pb2 import ApplyWorkflowRequest
    from stigma.workflow.v1.workflow_service_pb2_grpc import WorkflowServiceStub
    from stigma_client import StigmaPlugin, run_workflow
    from tests.integration.callers import Job, Movable, wrong_answers
    from tests.integration.installation import KEY, PRINCIPAL, Called, Installation
    from tests.stack.channels import open_channel
    from tests.stack.waiting import eventually

ASK_WORKFLOW = "ask_workflow"

TASKS = {
    "echo": 'say: {set: {said: "${ .said }"}}',
    "held": 'ask: {call: agent, with: {agent: held, message: "${ .said }"}, '
    'output: {as: "${ {said: .} }"}}',
    "slow": "nap: {wait: PT60S}",
    "broken": "break: {raise: {error: "
    "{type: https://example.com/broken, status: 500, title: Broken, detail: it is}}}",
    "disappointed": "ask: {call: agent, with: {agent: broken, message: hello}}",
    "large": 'repeat: {set: {said: "${ .said }", again: "${ .said }", more: "${ .said }"}}',
}


def document(name: str, task: str) -> str:
    """A document of one task."""
    return (
        f"document: {{dsl: '1.0.3', namespace: tests, name: {name}, version: '1.0.0'}}\n"
        f"do:\n  - {task}\n"
    )


def config_of(job: Job) -> WorkflowConfig | None:
    """What a job changes in the workflow."""
    if not job.agent_timeout:
        return None
    config = WorkflowConfig()
    config.timeout.FromTimedelta(timedelta(seconds=job.agent_timeout))
    return config


@workflow.defn
class PythonWorkflowCaller(Movable):
    """Runs a Stigma workflow as our documents say. Returns what it said."""

    @workflow.run
    async def run(self, job: Job) -> str:
        return await self.answer(job, self._ask(job))

    async def _ask(self, job: Job) -> str:
        result = await run_workflow(
            job.agent,
            input={"said": job.text},
            config=config_of(job),
            session_id=job.session,
            timeout=timedelta(seconds=job.timeout),
            heartbeat_timeout=timedelta(seconds=job.heartbeat_timeout or 300),
            request_id=job.request_id or None,
        )
        return str(result.output["said"])


@workflow.defn
class PythonWorkflowCrowd:
    """Runs many Stigma workflows at once. Returns what they should not have said."""

    @workflow.run
    async def run(self, job: Job) -> list[str]:
        async def ask(message: str) -> str:
            said = {"said": message}
            result = await run_workflow(job.agent, input=said, session_id=job.session)
            return str(result.output["said"])

        return await wrong_answers(job, ask)


@workflow.defn
class ForeignWorkflowCaller:
    """Runs one activity, as any SDK's workflow would. Returns what the Stigma workflow said."""

    @workflow.run
    async def run(self, job: Job) -> str:
        waits = workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
        tries = workflow.ActivityCancellationType.TRY_CANCEL
        heartbeat = timedelta(seconds=job.heartbeat_timeout) if job.heartbeat_timeout else None
        execution: WorkflowExecution = await workflow.execute_activity(
            ASK_WORKFLOW,
            job,
            result_type=WorkflowExecution,
            schedule_to_close_timeout=timedelta(seconds=job.timeout),
            heartbeat_timeout=heartbeat,
            retry_policy=RetryPolicy(maximum_attempts=job.attempts),
            cancellation_type=waits if job.waits_for_cancellation else tries,
        )
        return str(json.loads(execution.status.output.json)["said"])


class ForeignWorkflowActivities:
    """An activity written with nothing but generated stubs."""

    def __init__(self, executions: Any) -> None:
        self._executions = executions

    @activity.defn(name=ASK_WORKFLOW)
    async def ask_workflow(self, job: Job) -> WorkflowExecution:
        """Start the workflow and stay pending."""
        request = StartWorkflowRequest(
            workflow_id=job.agent,
            input_json=json.dumps({"said": job.text}),
            callback_token=activity.info().task_token,
            session_id=job.session,
            request_id=job.request_id,
            config=config_of(job),
        )
        try:
            execution: WorkflowExecution = await self._executions.StartWorkflow(request, timeout=15)
        except grpc.aio.AioRpcError as error:
            raise RuntimeError(f"{error.code().name}: {error.details()}") from None
        if execution.status.phase != WORKFLOW_EXECUTION_PHASE_COMPLETED:
            activity.raise_complete_async()
        return execution


class WorkflowCalls:
    """Workflow executions of an installation: documents for every purpose, and their callers.

    `echo` says its input; `held` asks the agent of that name; `slow` takes a minute; `broken`
    raises an error, `disappointed` has that of its agent; `large` says its input three times.
    """

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._queue = f"{installation.stack.prefix}workflow-callers"
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Apply the workflows, and start the callers' worker."""
        address = self._installation.stack.api_address
        channel = open_channel(address, api_key=KEY)
        self._open.push_async_callback(channel.close)
        self.executions = WorkflowExecutionServiceStub(channel)
        workflows = WorkflowServiceStub(channel)
        for name, task in TASKS.items():
            applied = Workflow(name=name, spec=WorkflowSpec(document=document(name, task)))
            await workflows.ApplyWorkflow(ApplyWorkflowRequest(workflow=applied), timeout=15)
        foreign = ForeignWorkflowActivities(self.executions)
        worker = Worker(
            self._installation.client,
            task_queue=self._queue,
            workflows=[PythonWorkflowCaller, PythonWorkflowCrowd, ForeignWorkflowCaller],
            activities=[foreign.ask_workflow],
            plugins=[StigmaPlugin(address, api_key=KEY)],
            interceptors=[self._installation.tokens],
            max_concurrent_activities=50,
            graceful_shutdown_timeout=timedelta(seconds=5),
        )
        await self._open.enter_async_context(worker)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._open.aclose()

    async def call(
        self, caller: Any, job: Job, *, names_request: bool = True, **options: Any
    ) -> Called:
        """Start a caller's workflow. It gets a request id, so that its execution is known."""
        if names_request:
            job.request_id = job.request_id or uuid.uuid4().hex
        handle = await self._installation.client.start_workflow(
            caller.run, job, id=f"caller-{uuid.uuid4().hex}", task_queue=self._queue, **options
        )
        return Called(handle, job, self.execution_id(job.request_id))

    def execution_id(self, request_id: str, principal: str = PRINCIPAL) -> str:
        """The execution that a request id stands for."""
        namespace = self._installation.stack.namespace
        return ids.execution_id(principal, namespace, request_id, Kind.WORKFLOW)

    def run_of(self, execution_id: str) -> WorkflowHandle[Any, Any]:
        """The engine's run of an execution."""
        return self._installation.client.get_workflow_handle(engine.run_id(execution_id))

    async def start(self, **fields: Any) -> WorkflowExecution:
        """Call StartWorkflow."""
        return await self.executions.StartWorkflow(StartWorkflowRequest(**fields), timeout=15)

    async def execution(self, execution_id: str) -> WorkflowExecution:
        """Call GetWorkflowExecution."""
        request = GetWorkflowExecutionRequest(id=execution_id)
        return await self.executions.GetWorkflowExecution(request, timeout=15)

    async def cancel(self, execution_id: str) -> None:
        """Call CancelWorkflowExecution."""
        request = CancelWorkflowExecutionRequest(id=execution_id, reason="a test wants it")
        await self.executions.CancelWorkflowExecution(request, timeout=15)

    async def exists(self, execution_id: str) -> bool:
        """Whether there is, or was, such an execution. Not visibility: this is never late."""
        try:
            await self.execution(execution_id)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            return False
        return True

    async def of_session(
        self, session: str, count: int, condition: str = ""
    ) -> list[WorkflowExecution]:
        """Return the executions of a session, once there are so many. Visibility is late."""
        asked = f'session = "{session}"{" AND " if condition else ""}{condition}'
        request = ListWorkflowExecutionsRequest(filter=asked, page_size=1000)

        async def found() -> list[WorkflowExecution]:
            reply = await self.executions.ListWorkflowExecutions(request, timeout=15)
            executions = list(reply.executions)
            return executions if len(executions) >= count else []

        return await eventually(found, what=f"{count} executions of session {session}")

    async def ended(self, execution_id: str) -> WorkflowExecution:
        """Return the execution once it has ended and nobody is still to be told."""

        async def terminal() -> WorkflowExecution | None:
            execution = await self.execution(execution_id)
            waits = execution.status.callback.state == CALLBACK_STATE_WAITING
            return execution if has_ended(execution) and not waits else None

        return await eventually(
            terminal, within=timedelta(seconds=30), what=f"the end of {execution_id}"
        )
