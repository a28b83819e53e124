"""Calls for executions of both kinds by workflows, and what Temporal's histories say about each."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Generic, TypeVar, cast

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.contracts import engine, ids
from stigma.contracts.executions import Execution, Kind
from stigma.workflow.v1.workflow_execution_pb2 import (
    WORKFLOW_EXECUTION_PHASE_COMPLETED,
    WorkflowExecution,
)
from tests.reliability.caller_service import QUEUE, AskAgent, Errand, Question, RunDocument
from tests.reliability.scripted import ECHO, asking_document, scripted
from tests.stack.stack import Stack
from tests.stack.waiting import eventually

SCHEDULED = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
COMPLETED = EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
FAILED = EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED
WITHIN = timedelta(seconds=90)

E = TypeVar("E", AgentExecution, WorkflowExecution)


@dataclass
class ExecutionCall(Generic[E]):
    """A workflow that calls for one execution, and what its history says about it."""

    activity: ClassVar[str]
    execution_type: ClassVar[type[Execution]]
    client: Client
    handle: WorkflowHandle[Any, Any]

    async def result(self, within: timedelta = WITHIN) -> Any:
        """Return what the workflow returns: an answer's text, or a dict of the caller's worker."""
        return await asyncio.wait_for(self.handle.result(), within.total_seconds())

    async def completion(self) -> E:
        """Return the execution in the one event that resolved the one activity."""
        history = await events(self.handle)
        asked = {
            event.event_id
            for event in history
            if event.activity_task_scheduled_event_attributes.activity_type.name == self.activity
        }
        assert len(asked) == 1, "the workflow called for more than one execution"
        results = [
            event.activity_task_completed_event_attributes.result.payloads[0]
            for event in history
            if event.activity_task_completed_event_attributes.scheduled_event_id in asked
        ]
        assert len(results) == 1, f"{len(results)} completions"
        return cast("E", self.execution_type.FromString(results[0].data))

    async def pending(self) -> PendingActivityInfo | None:
        """Return the waiting activity as Temporal sees it."""
        waiting = (await self.handle.describe()).raw_description.pending_activities
        return next((one for one in waiting if one.activity_type.name == self.activity), None)

    async def until_back_off(self) -> PendingActivityInfo:
        """Return once an attempt of the activity has failed and the next one is to come."""

        async def failed() -> PendingActivityInfo | None:
            pending = await self.pending()
            return pending if pending is not None and pending.HasField("last_failure") else None

        return await eventually(failed, what="a failed attempt of the caller's activity")


@dataclass
class Call(ExecutionCall[AgentExecution]):
    """One call of an agent, by a workflow of the engine or of a caller's own worker."""

    activity = "call_agent"
    execution_type = AgentExecution
    message: str

    async def answer(self, within: timedelta = WITHIN) -> str:
        """Return the agent's answer, whoever called."""
        result = await self.result(within)
        return str(result["output"] if isinstance(result, dict) and "output" in result else result)

    @property
    def right_answer(self) -> str:
        return ECHO.replace("{message}", self.message)

    async def check(self, within: timedelta = WITHIN) -> AgentExecution:
        """Wait for the right answer, resolved once; return the execution it came from."""
        answered = await self.answer(within)
        assert answered == self.right_answer
        return await self.completion()


@dataclass
class Run(ExecutionCall[WorkflowExecution]):
    """One call of a workflow, with its execution and the engine's run."""

    activity = "call_workflow"
    execution_type = WorkflowExecution
    execution: WorkflowHandle[Any, Any]
    engine: WorkflowHandle[Any, Any]

    async def began(self) -> None:
        """Return once the engine is at work."""

        async def has_run() -> bool:
            started = EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED
            completed = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
            if await happened(self.execution, started):
                return bool(await happened(self.engine, completed))
            return False

        await eventually(has_run, what="the engine's run")

    async def check(self, output: Any, within: timedelta = WITHIN) -> WorkflowExecution:
        """Wait for this output, resolved once; return the execution it came from."""
        result = await self.result(within)
        assert result == {"output": output, "execution_id": self.execution.id}
        assert (await self.completion()).id == self.execution.id
        execution: WorkflowExecution = await self.execution.result()
        assert execution.status.phase == WORKFLOW_EXECUTION_PHASE_COMPLETED
        return execution


@dataclass
class AskingRun(Run):
    """One whose document asks an agent: `call` is the engine's."""

    call: Call

    async def check_answer(self) -> WorkflowExecution:
        """As `check`; the agent's answer, which the engine got once as well."""
        execution = await self.check(self.call.right_answer)
        await self.call.check()
        return execution


class Callers:
    """Starts calls on one stack."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.started = 0

    async def engine(self, message: str = "", **spec: Any) -> Call:
        """Run a document whose only task is the call."""
        message = message or unique_message()
        argument = {"document": asking_document(**spec), "input": {"message": message}}
        return await self._start("reliability", argument, self._stack.queues.engine, message)

    async def worker(
        self,
        message: str = "",
        *,
        timeout: float = 120.0,
        heartbeat_timeout: float = 60.0,
        request_id: str | None = None,
        workflow_id: str = "",
        **spec: Any,
    ) -> Call:
        """Run a workflow of the caller's own worker; seconds."""
        message = message or unique_message()
        question = Question(message, scripted(**spec), timeout, heartbeat_timeout, request_id)
        return await self._start(
            AskAgent.run, question, self._stack.prefix + QUEUE, message, workflow_id
        )

    async def run(self, task: str, **fields: Any) -> Run:
        """Have a workflow execution run a document of one task; `fields` are Errand's."""
        document = (
            "document: {dsl: '1.0.3', namespace: tests, name: errand, version: '1.0.0'}\n"
            f"do:\n  - task: {task}\n"
        )
        return await self._run(Errand(document, uuid.uuid4().hex, **fields))

    async def ask(self, **spec: Any) -> AskingRun:
        """Have a workflow execution run a document that asks an agent; `spec` as of `engine`."""
        message = unique_message()
        errand = Errand(asking_document(**spec), uuid.uuid4().hex, data={"message": message})
        self.started += 1
        run = await self._run(errand)
        return AskingRun(**vars(run), call=Call(run.client, run.engine, message))

    async def agent_of(self, call: Call, kind: EventType.ValueType) -> WorkflowHandle[Any, Any]:
        """The workflow of the agent that was called, once its history has such an event."""

        async def found() -> WorkflowHandle[Any, Any] | None:
            if (execution_id := self._execution_id(call)) is None:
                return None
            handle = self._stack.client.get_workflow_handle(execution_id)
            return handle if await events(handle, kind) else None

        return await eventually(found, what=f"event {EventType.Name(kind)} of the agent")

    async def execution_id(self, call: Call) -> str:
        """The id of the execution that a call started, once the API has told it."""
        return await eventually(
            lambda: self._execution_id(call), what=f"the execution of {call.handle.id}"
        )

    def _execution_id(self, call: Call) -> str | None:
        taken = self._stack.events("token_taken", workflow_id=call.handle.id)
        for one in taken[:1]:
            for started in self._stack.events("workflow_started", request_id=one["request_id"]):
                return str(started["execution_id"])
        return None

    async def _start(
        self, workflow: Any, argument: Any, queue: str, message: str, workflow_id: str = ""
    ) -> Call:
        client = self._stack.client
        self.started += 1
        handle = await client.start_workflow(
            workflow, argument, id=workflow_id or f"call-{uuid.uuid4()}", task_queue=queue
        )
        return Call(client, handle, message)

    async def _run(self, errand: Errand) -> Run:
        client, stack = self._stack.client, self._stack
        execution = ids.execution_id(
            stack.principal, stack.namespace, errand.request_id, Kind.WORKFLOW
        )
        handle = await client.start_workflow(
            RunDocument.run,
            errand,
            id=f"errand-{errand.request_id}",
            task_queue=stack.prefix + QUEUE,
        )
        return Run(
            client,
            handle,
            client.get_workflow_handle(execution, result_type=WorkflowExecution),
            client.get_workflow_handle(engine.run_id(execution)),
        )


async def executions_on(stack: Stack) -> list[str]:
    """Ids of all agent workflows of a stack that Temporal's visibility knows."""
    query = f"WorkflowType = 'AgentWorkflow' AND TaskQueue = '{stack.queues.orchestrator}'"
    return [found.id async for found in stack.client.list_workflows(query)]


async def events(
    handle: WorkflowHandle[Any, Any], *kinds: EventType.ValueType
) -> list[HistoryEvent]:
    """Events of a workflow's history, of these kinds if any are given."""
    history: AsyncIterator[HistoryEvent] = handle.fetch_history_events()
    return [event async for event in history if not kinds or event.event_type in kinds]


async def happened(handle: WorkflowHandle[Any, Any], kind: EventType.ValueType) -> int:
    """Count such events of a workflow; none when there is no such workflow yet."""
    try:
        return len(await events(handle, kind))
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return 0


def unique_message() -> str:
    """A message that no other call has."""
    return uuid.uuid4().hex[:12]
