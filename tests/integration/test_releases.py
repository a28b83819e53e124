"""Callers whose stubs are of another release than the services."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.common import RawValue

from stigma.agent.v1 import agent_execution_pb2, agent_pb2
from stigma.agent.v1.agent_execution_pb2 import AGENT_EXECUTION_PHASE_COMPLETED, AgentExecution
from tests.integration.callers import ForeignCaller, Job, PythonCaller
from tests.integration.installation import Installation

OLD_STUBS = "caller stubs one release old"
# What an older release did not have yet.
NEW_FIELDS = {
    "AgentExecution": {"spec"},
    "AgentExecutionStatus": {"usage", "steps", "start_time", "end_time", "deadline", "callback"},
    "AgentOutput": {"truncated"},
}
A_FIELD_OF_THE_FUTURE = b"\xfa\xff\x3f\x06future"
"""Number 131071, length-delimited."""


def old_stub() -> Any:
    """AgentExecution as generated before the newer fields."""
    pool = descriptor_pool.DescriptorPool()
    for module in (*_dependencies(), agent_pb2, agent_execution_pb2):
        file = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        for message in file.message_type:
            newer = NEW_FIELDS.get(message.name, set()) if module is agent_execution_pb2 else set()
            kept = [field for field in message.field if field.name not in newer]
            del message.field[:]
            message.field.extend(kept)
        pool.Add(file)
    descriptor = pool.FindMessageTypeByName("stigma.agent.v1.AgentExecution")
    return message_factory.GetMessageClass(descriptor)


def _dependencies() -> tuple[Any, ...]:
    from google.protobuf import duration_pb2, timestamp_pb2

    return duration_pb2, timestamp_pb2


@pytest.mark.contract(OLD_STUBS)
@pytest.mark.parametrize("caller", [PythonCaller, ForeignCaller], ids=["python", "foreign"])
async def test_fields_that_the_caller_does_not_know(
    installation: Installation, caller: Any
) -> None:
    """What is in the caller's history is binary: an older stub reads it, and loses nothing."""
    called = await installation.call(caller, Job("echo", "hello"))
    await called.result()
    completed = EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
    [payload] = [
        payload
        for event in await installation.history(called.workflow.id)
        if event.event_type == completed
        for payload in event.activity_task_completed_event_attributes.result.payloads
    ]
    assert payload.metadata["encoding"] == b"binary/protobuf"
    assert payload.metadata["messageType"] == b"stigma.agent.v1.AgentExecution"
    old = old_stub().FromString(payload.data)
    assert old.id == called.execution_id
    assert old.status.output.text == "hello"
    assert not hasattr(old.status, "callback")
    assert AgentExecution.FromString(old.SerializeToString()).status.steps == 1


@pytest.mark.contract(OLD_STUBS)
@pytest.mark.parametrize("caller", [PythonCaller, ForeignCaller], ids=["python", "foreign"])
async def test_fields_of_a_later_release(installation: Installation, caller: Any) -> None:
    """An answer with a field, and an enum value, that the caller's release does not have."""
    message = uuid.uuid4().hex
    called = await installation.call(caller, Job("held", message))
    await installation.gate.held(message)
    later = AgentExecution(id=called.execution_id)
    later.status.phase = AGENT_EXECUTION_PHASE_COMPLETED
    later.status.output.text = "from the future"
    later.status.callback.state = 99  # type: ignore[assignment]
    payload = Payload(
        metadata={"encoding": b"binary/protobuf", "messageType": b"stigma.agent.v1.AgentExecution"},
        data=later.SerializeToString() + A_FIELD_OF_THE_FUTURE,
    )
    token = await installation.tokens.of(called.workflow.id)
    waiting = installation.client.get_async_activity_handle(task_token=token)
    await waiting.complete(RawValue(payload))
    assert await called.result() == "from the future"
    await installation.cancel(called.execution_id)


@pytest.mark.contract(OLD_STUBS)
async def test_a_failure_needs_no_stubs(installation: Installation) -> None:
    """Its detail is plain JSON, whatever the caller has generated."""
    called = await installation.call(ForeignCaller, Job("broken", "hello", attempts=1))
    with pytest.raises(Exception, match="Workflow execution failed"):
        await called.result()
    failed = EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED
    [failure] = [
        event.activity_task_failed_event_attributes.failure
        for event in await installation.history(called.workflow.id)
        if event.event_type == failed
    ]
    [detail] = failure.application_failure_info.details.payloads
    assert detail.metadata["encoding"] == b"json/plain"
