"""Calls of agents by workflows, and what Temporal's histories say about each."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client, WorkflowHandle

from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from tests.reliability.caller_service import QUEUE, AskAgent, Question
from tests.stack.stack import Stack
from tests.stack.waiting import eventually

CALL_AGENT = "call_agent"
SCHEDULED = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
COMPLETED = EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
FAILED = EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED
ECHO = "you said {message}"


@dataclass
class Call:
    """One call of an agent, by a workflow of the engine or of a caller's own worker."""

    client: Client
    handle: WorkflowHandle[Any, Any]
    message: str

    async def result(self, within: timedelta = timedelta(seconds=90)) -> Any:
        """What the workflow returns: an answer's text, or a dict of the caller's worker."""
        return await asyncio.wait_for(self.handle.result(), within.total_seconds())

    async def answer(self, within: timedelta = timedelta(seconds=90)) -> str:
        """The agent's answer, whoever called."""
        result = await self.result(within)
        return str(result["output"] if isinstance(result, dict) and "output" in result else result)

    @property
    def right_answer(self) -> str:
        return ECHO.replace("{message}", self.message)

    async def check(self, within: timedelta = timedelta(seconds=90)) -> AgentExecution:
        """Wait for the right answer, resolved once; returns the execution it came from."""
        answered = await self.answer(within)
        assert answered == self.right_answer
        return await self.completion()

    async def completion(self) -> AgentExecution:
        """The execution in the one event that resolved the activity."""
        history = [event async for event in self.handle.fetch_history_events()]
        asked = {
            event.event_id
            for event in history
            if event.activity_task_scheduled_event_attributes.activity_type.name == CALL_AGENT
        }
        assert len(asked) == 1, "the workflow called more than one agent"
        results = [
            event.activity_task_completed_event_attributes.result.payloads[0]
            for event in history
            if event.activity_task_completed_event_attributes.scheduled_event_id in asked
        ]
        assert len(results) == 1, f"{len(results)} completions"
        return AgentExecution.FromString(results[0].data)

    async def pending(self) -> PendingActivityInfo | None:
        """The waiting activity as Temporal sees it."""
        return await pending_activity(self.handle, CALL_AGENT)

    async def until_back_off(self) -> PendingActivityInfo:
        """Return once an attempt of the activity has failed and the next one is to come."""
        return await until_back_off(self.handle, CALL_AGENT)


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


def seconds(value: float) -> str:
    """A duration as protobuf's JSON form has it."""
    return f"{value:g}s"


def scripted(
    *,
    text: str = ECHO,
    delay: float = 0.0,
    failure: str = "",
    duration: Callable[[float], str] = seconds,
    **spec: Any,
) -> dict[str, Any]:
    """An AgentSpec's JSON form for the scripted model: one step of `delay` seconds."""
    step: dict[str, Any] = {"text": text}
    if delay:
        step["delay"] = duration(delay)
    if failure:
        step["failure"] = {"reason": failure, "message": "as scripted"}
    return {"model": "scripted:reliability", "script": {"steps": [step]}} | spec


def asking_document(**spec: Any) -> str:
    """A document whose only task asks a scripted agent for the message in its input."""
    document = {
        "document": {
            "dsl": "1.0.3",
            "namespace": "tests",
            "name": "reliability",
            "version": "1.0.0",
        },
        "do": [
            {
                "ask": {
                    "call": "agent",
                    "with": {
                        "spec": scripted(duration=_iso8601, **spec),
                        "message": "${ .message }",
                    },
                }
            }
        ],
    }
    return json.dumps(document)


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


async def pending_activity(
    handle: WorkflowHandle[Any, Any], activity_type: str
) -> PendingActivityInfo | None:
    """A workflow's waiting activity of a type, as Temporal sees it."""
    waiting = (await handle.describe()).raw_description.pending_activities
    return next((one for one in waiting if one.activity_type.name == activity_type), None)


async def until_back_off(
    handle: WorkflowHandle[Any, Any], activity_type: str
) -> PendingActivityInfo:
    """Return once an attempt of an activity has failed and the next one is to come."""

    async def failed() -> PendingActivityInfo | None:
        pending = await pending_activity(handle, activity_type)
        return pending if pending is not None and pending.HasField("last_failure") else None

    return await eventually(failed, what="a failed attempt of the caller's activity")


def unique_message() -> str:
    """A message that no other call has."""
    return uuid.uuid4().hex[:12]


def _iso8601(value: float) -> str:
    """A duration as a document has it."""
    return f"PT{value:g}S"
