"""What an operator asks first, of four services at work: how did it go, and what is stuck."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from stigma.agent.v1.agent_execution_service_pb2 import InputAnswer, InputApproval
from stigma.diagnosis.v1 import diagnosis_service_pb2 as pb
from stigma.diagnosis.v1.diagnosis_service_pb2_grpc import DiagnosisServiceStub
from stigma.workflow.v1.workflow_execution_service_pb2 import StartWorkflowRequest
from stigma.workflow.v1.workflow_execution_service_pb2_grpc import WorkflowExecutionServiceStub
from stigma.workflow.v1.workflow_pb2 import WorkflowSpec
from tests.integration.callers import Job, PythonCaller
from tests.integration.executions import failure_of
from tests.integration.installation import KEY, Installation
from tests.integration.people import asking_agent, pending_inputs, send, submit
from tests.stack.channels import open_channel
from tests.stack.command_line import stigma
from tests.stack.waiting import eventually


@pytest.fixture(scope="module")
async def channel(installation: Installation) -> AsyncIterator[Any]:
    channel = open_channel(installation.stack.api_address, api_key=KEY)
    yield channel
    await channel.close()


async def timeline(channel: Any, execution_id: str) -> pb.ExecutionTimeline:
    request = pb.GetExecutionTimelineRequest(id=execution_id)
    told: pb.ExecutionTimeline = await DiagnosisServiceStub(channel).GetExecutionTimeline(
        request, timeout=15
    )
    return told


async def told_up_to(
    channel: Any, execution_id: str, step: pb.TimelineStep.ValueType
) -> pb.ExecutionTimeline:
    """The timeline, once it has such a step."""

    async def has_it() -> pb.ExecutionTimeline | None:
        told = await timeline(channel, execution_id)
        return told if step in {entry.step for entry in told.entries} else None

    return await eventually(has_it, what=f"{pb.TimelineStep.Name(step)} of {execution_id}")


def steps(told: pb.ExecutionTimeline) -> list[str]:
    return [pb.TimelineStep.Name(each.step).removeprefix("TIMELINE_STEP_") for each in told.entries]


def document(agent: str, message: str) -> str:
    asked = f"{{agent: {agent}, message: {message}, labels: {{group: {message}}}}}"
    return (
        "document: {dsl: '1.0.3', namespace: tests, name: document, version: '1.0.0'}\n"
        f"do: [{{ask: {{call: agent, with: {asked}}}}}]"
    )


async def test_a_handshake_is_followed_from_the_token_to_the_callers_next_step(
    installation: Installation, channel: Any
) -> None:
    group = uuid.uuid4().hex
    run = await installation.run_document(document("held", group))
    call = await installation.gate.held(group)
    [execution] = await installation.of_group(group, 1)
    waiting = await told_up_to(channel, execution.id, pb.TIMELINE_STEP_MODEL_CALL)
    assert steps(waiting) == ["TAKEN", "ACKNOWLEDGED", "PENDING", "STARTED", "MODEL_CALL"]
    assert waiting.entries[-1].open
    assert waiting.phase == "RUNNING"
    call.answer("now")
    await run.result()
    await told_up_to(channel, execution.id, pb.TIMELINE_STEP_ENDED)
    told = await told_up_to(channel, execution.id, pb.TIMELINE_STEP_RESUMED)
    assert sorted(steps(told)) == sorted([*steps(waiting), "DELIVERED", "ENDED", "RESUMED"])
    # The caller goes on while the agent's own workflow is still closing.
    assert [each for each in steps(told) if each != "ENDED"] == [
        *steps(waiting),
        "DELIVERED",
        "RESUMED",
    ]
    entries = {entry.step: entry for entry in told.entries}
    taken, resumed = (entries[step] for step in (pb.TIMELINE_STEP_TAKEN, pb.TIMELINE_STEP_RESUMED))
    assert {taken.workflow_id, resumed.workflow_id} == {run.id}
    assert taken.title == "call_agent takes its token"
    delivered = entries[pb.TIMELINE_STEP_DELIVERED]
    assert (delivered.title, delivered.failed) == ("delivered", False)
    execution = await installation.ended(execution.id)
    fingerprint = execution.status.callback.fingerprint
    with_token = [entry for entry in told.entries if entry.fingerprint]
    assert {entry.fingerprint for entry in with_token} == {fingerprint}
    assert len(with_token) == 4
    logged = installation.stack.events(request_id=told.request_id)
    assert {event["execution_id"] for event in logged if "execution_id" in event} == {execution.id}
    assert told.usage == execution.status.usage
    assert group not in str(told)


async def test_a_workflow_execution_and_the_agent_in_it_tell_of_each_other(
    installation: Installation, channel: Any
) -> None:
    group = uuid.uuid4().hex
    executions = WorkflowExecutionServiceStub(channel)
    started = await executions.StartWorkflow(
        StartWorkflowRequest(spec=WorkflowSpec(document=document("echo", group)))
    )
    told = await told_up_to(channel, started.id, pb.TIMELINE_STEP_ENDED)
    assert steps(told) == ["ACKNOWLEDGED", "STARTED", "ENGINE_RUN", "DOCUMENT_CALL", "ENDED"]
    assert told.phase == "COMPLETED"
    [agent] = await installation.of_group(group, 1)
    call = told.entries[3]
    assert (call.title, call.detail) == ("call of agent echo /do/0/ask", f"execution {agent.id}")
    of_agent = await told_up_to(channel, agent.id, pb.TIMELINE_STEP_RESUMED)
    assert of_agent.entries[0].workflow_id == told.entries[2].workflow_id
    assert of_agent.entries[0].run_id == told.entries[2].run_id


async def test_a_document_names_the_agent_that_it_waits_for(
    installation: Installation, channel: Any
) -> None:
    message = uuid.uuid4().hex
    executions = WorkflowExecutionServiceStub(channel)
    started = await executions.StartWorkflow(
        StartWorkflowRequest(spec=WorkflowSpec(document=document("held", message)))
    )
    call = await installation.gate.held(message)
    waiting = await timeline(channel, started.id)
    [agent] = await installation.of_group(message, 1)
    [shown] = [each for each in waiting.entries if each.step == pb.TIMELINE_STEP_DOCUMENT_CALL]
    assert shown.open
    assert (shown.title, shown.detail) == ("call of agent held /do/0/ask", f"execution {agent.id}")
    call.answer("enough")
    await told_up_to(channel, started.id, pb.TIMELINE_STEP_ENDED)


async def test_a_failed_agent_and_its_caller_agree(
    installation: Installation, channel: Any
) -> None:
    called = await installation.call(PythonCaller, Job("broken", "hello"))
    await failure_of(called)
    await installation.ended(called.execution_id)
    told = await told_up_to(channel, called.execution_id, pb.TIMELINE_STEP_RESUMED)
    entries = {entry.step: entry for entry in told.entries}
    assert entries[pb.TIMELINE_STEP_MODEL_CALL].detail == "INVALID_REQUEST"
    ended = entries[pb.TIMELINE_STEP_ENDED].detail
    assert ended == "INVALID_REQUEST: no such parameter (at model_call 2)"
    assert entries[pb.TIMELINE_STEP_RESUMED].detail == "AGENT_EXECUTION_FAILED"
    # A failure is delivered by a regular activity: it is decided before it is sent.
    assert entries[pb.TIMELINE_STEP_DELIVERED].duration.ToTimedelta() > timedelta()


async def test_a_terminated_caller_is_told_and_what_it_left_is_stopped(
    installation: Installation, channel: Any
) -> None:
    job = Job("slow", "hello", heartbeat_timeout=4)
    called = await installation.call(PythonCaller, job)
    await eventually(lambda: installation.exists(called.execution_id), what="the execution")
    await told_up_to(channel, called.execution_id, pb.TIMELINE_STEP_MODEL_CALL)
    await called.workflow.terminate()
    told = await told_up_to(channel, called.execution_id, pb.TIMELINE_STEP_ENDED)
    assert {"CALLER_ENDED", "CANCEL_REQUESTED", "ENDED"} <= set(steps(told))
    ended = next(each for each in told.entries if each.step == pb.TIMELINE_STEP_ENDED)
    assert ended.detail.startswith("CALLER_GONE")


async def test_people_are_told_of_without_their_words(
    installation: Installation, channel: Any
) -> None:
    help_ = {"name": "help", "agent": {"agent": "echo"}}
    late = {"name": "late", "question": {}, "policy": {"timeout": "1s"}}
    calls = {
        "ask": {"question": "a secret?"},
        "help": {"message": "secret arguments"},
        "late": {"question": "another secret?"},
    }
    started = await installation.start(spec=asking_agent(calls, help_, late), message="secret")
    await send(installation, started.id, "a secret hint")
    question, approval = await pending_inputs(installation, started.id, 2)
    waiting = await timeline(channel, started.id)
    assert [each.open for each in waiting.entries if "waits for" in each.title] == [
        *(True, True, False)
    ]
    waits = "waits for an answer to ask (call 1-1), asked "
    found = await diagnosed(channel, started.id, pb.STUCK_REASON_INPUT_REQUIRED)
    assert found.message.startswith(waits)
    assert found.message.endswith(" ago, and for 1 more")
    assert found.command == f"stigma execution answer {started.id} {question.id}"
    await submit(installation, question, reply=InputAnswer(text="a secret answer"))
    found = await diagnosed(channel, started.id, pb.STUCK_REASON_INPUT_REQUIRED, approval.tool)
    assert found.command == f"stigma execution approve {started.id}"
    await submit(installation, approval, approve=InputApproval())
    told = await told_up_to(channel, started.id, pb.TIMELINE_STEP_ENDED)
    people = (pb.TIMELINE_STEP_INPUT_REQUIRED, pb.TIMELINE_STEP_MESSAGE_RECEIVED)
    assert sorted(f"{e.title}; {e.detail}" for e in told.entries if e.step in people) == [
        "a message from tests; ",
        "waits for an answer to ask (call 1-1); answered by tests",
        "waits for an answer to late (call 1-3); expired",
        "waits for the approval of help (call 1-2); approved by tests",
    ]
    calls_made = [e.title for e in told.entries if e.step == pb.TIMELINE_STEP_TOOL_CALL]
    assert calls_made == [f"tool call 1-2, help: execution {started.id}-1-2"]
    assert "secret" not in f"{told} {waiting} {found}"
    below = await told_up_to(channel, f"{started.id}-1-2", pb.TIMELINE_STEP_ENDED)
    assert below.definition_id == "echo@1"


async def diagnosed(
    channel: Any, execution_id: str, reason: pb.StuckReason.ValueType, text: str = ""
) -> pb.StuckExecution:
    """What is said of an execution, once it is said for this reason."""
    request = pb.ListStuckExecutionsRequest()
    request.min_age.FromTimedelta(timedelta())

    async def found() -> pb.StuckExecution | None:
        reply = await DiagnosisServiceStub(channel).ListStuckExecutions(request, timeout=15)
        mine = [each for each in reply.executions if each.execution_id == execution_id]
        is_said = mine and mine[0].reason == reason and text in mine[0].message
        return mine[0] if is_said else None

    return await eventually(found, what=f"{pb.StuckReason.Name(reason)} of {execution_id}")


async def test_the_commands_say_the_same(installation: Installation, channel: Any) -> None:
    called = await installation.call(PythonCaller, Job("echo", "hello"))
    await called.result()
    told = await told_up_to(channel, called.execution_id, pb.TIMELINE_STEP_RESUMED)
    stack = installation.stack
    variables = {
        "STIGMA_API_ADDRESS": stack.api_address,
        "STIGMA_API_KEY": KEY,
        "TEMPORAL_ADDRESS": stack.temporal_address,
        "TEMPORAL_NAMESPACE": stack.namespace,
        "STIGMA_TASK_QUEUE_PREFIX": stack.prefix,
    }
    shown = await stigma("execution", "timeline", called.execution_id, **variables)
    assert (shown.code, shown.stderr) == (0, "")
    for entry in told.entries:
        assert entry.title in shown.stdout
    assert "caller  " in shown.stdout
    checked = await stigma("doctor", "--output", "json", **variables)
    found = {check["name"]: check["found"] for check in json.loads(checked.stdout)["checks"]}
    assert "open, " in found["executions"]
