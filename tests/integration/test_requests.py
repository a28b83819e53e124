"""What the API makes of tokens and request ids. Refused means: nothing was started."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import grpc
import grpc.aio
import pytest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import WorkflowHandle

from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.agent.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub
from stigma.contracts import tokens
from stigma.contracts.executions import Kind, phase_name
from stigma.internal.v1.task_token_pb2 import TaskToken
from stigma.workflow.v1.workflow_execution_service_pb2 import StartWorkflowRequest
from stigma.workflow.v1.workflow_execution_service_pb2_grpc import WorkflowExecutionServiceStub
from tests.integration.callers import answer_of
from tests.integration.executions import AnyExecutions
from tests.integration.installation import NARROW_KEY, NARROW_PREFIX, Installation
from tests.stack.channels import open_channel

TOKENS = (
    "token corrupt or of a foreign namespace / already resolved / "
    "outside the principal's workflow prefixes"
)
REPLAYS = "request replayed / with another spec"


def changed(token: bytes, **fields: Any) -> bytes:
    """The token with other fields; those that we do not read stay as they are."""
    parsed = tokens.parse(token)
    for name, value in fields.items():
        setattr(parsed, name, value)
    return parsed.SerializeToString()


CORRUPTIONS: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda token: token[:-7],
    "first byte": lambda token: b"\xff" + token[1:],
    "noise": lambda token: bytes(range(256)),
    "text": lambda token: b"not a token",
    "of nobody": lambda token: TaskToken(activity_id="1").SerializeToString(),
    "run is no uuid": lambda token: changed(token, run_id="not-a-run"),
    "too long": lambda token: token * 200,
}


@pytest.fixture
async def parked(installation: Installation) -> AsyncIterator[WorkflowHandle[Any, Any]]:
    """A caller that waits for somebody."""
    handle = await installation.park()
    yield handle
    await handle.terminate()


@pytest.fixture
async def narrow(installation: Installation) -> AsyncIterator[Mapping[Kind, Any]]:
    """StartAgent and StartWorkflow with the key of a principal that may use few tokens."""
    async with open_channel(installation.stack.api_address, api_key=NARROW_KEY) as channel:
        agents, workflows = (
            AgentExecutionServiceStub(channel),
            WorkflowExecutionServiceStub(channel),
        )
        yield {
            Kind.AGENT: lambda **f: agents.StartAgent(StartAgentRequest(**f), timeout=15),
            Kind.WORKFLOW: lambda **f: workflows.StartWorkflow(
                StartWorkflowRequest(**f), timeout=15
            ),
        }


async def refused(executions: AnyExecutions, code: grpc.StatusCode, **fields: Any) -> str:
    """Assert that a start is refused with a code and starts nothing; the one line it answers."""
    request_id = uuid.uuid4().hex
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await executions.ask("echo", "hello", request_id=request_id, **fields)
    assert caught.value.code() is code, caught.value.details()
    assert not await executions.exists(executions.execution_id(request_id))
    line = caught.value.details() or ""
    assert line
    assert "\n" not in line
    return line


@pytest.mark.contract(TOKENS, "agent", "workflow")
@pytest.mark.parametrize("corrupt", CORRUPTIONS.values(), ids=list(CORRUPTIONS))
async def test_token_corrupt(
    installation: Installation,
    executions: AnyExecutions,
    parked: WorkflowHandle[Any, Any],
    corrupt: Callable[[bytes], bytes],
) -> None:
    token = corrupt(await installation.tokens.of(parked.id))
    line = await refused(executions, grpc.StatusCode.INVALID_ARGUMENT, callback_token=token)
    assert "callback_token" in line


@pytest.mark.contract(TOKENS, "agent", "workflow")
async def test_token_resolved(installation: Installation, executions: AnyExecutions) -> None:
    parked = await installation.park()
    token = await installation.tokens.of(parked.id)
    await installation.client.get_async_activity_handle(task_token=token).complete("done")
    await parked.result()
    precondition = grpc.StatusCode.FAILED_PRECONDITION
    await refused(executions, precondition, callback_token=token)


@pytest.mark.contract(TOKENS, "agent", "workflow")
async def test_token_of_a_foreign_namespace(
    installation: Installation, executions: AnyExecutions, parked: WorkflowHandle[Any, Any]
) -> None:
    other = await installation.client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace="temporal-system")
    )
    token = changed(await installation.tokens.of(parked.id), namespace_id=other.namespace_info.id)
    line = await refused(executions, grpc.StatusCode.INVALID_ARGUMENT, callback_token=token)
    assert "callback_token" in line


@pytest.mark.contract(TOKENS, "agent", "workflow")
@pytest.mark.parametrize(
    ("field", "other"),
    [
        ("namespace_id", str(uuid.uuid4())),
        ("workflow_id", "nobody"),
        ("run_id", str(uuid.uuid4())),
        ("scheduled_event_id", 1),
        ("attempt", 2),
    ],
)
async def test_token_of_nothing_there(
    installation: Installation,
    executions: AnyExecutions,
    parked: WorkflowHandle[Any, Any],
    field: str,
    other: object,
) -> None:
    token = changed(await installation.tokens.of(parked.id), **{field: other})
    precondition = grpc.StatusCode.FAILED_PRECONDITION
    await refused(executions, precondition, callback_token=token)


@pytest.mark.contract(TOKENS, "agent", "workflow")
async def test_token_of_what_may_still_come(
    installation: Installation, executions: AnyExecutions, parked: WorkflowHandle[Any, Any]
) -> None:
    """To Temporal, an event it does not have yet may be on its way: that is worth a retry."""
    token = changed(await installation.tokens.of(parked.id), scheduled_event_id=4711)
    await refused(executions, grpc.StatusCode.UNAVAILABLE, callback_token=token)


@pytest.mark.contract(TOKENS, "agent", "workflow")
async def test_token_outside_the_prefixes(
    installation: Installation,
    executions: AnyExecutions,
    parked: WorkflowHandle[Any, Any],
    narrow: Mapping[Kind, Any],
) -> None:
    start, request_id = narrow[executions.kind], uuid.uuid4().hex
    asked = executions.fields("echo", "hello") | {"request_id": request_id}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await start(callback_token=await installation.tokens.of(parked.id), **asked)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert not await executions.exists(executions.execution_id(request_id, "narrow"))
    # The key itself is good, where it may be used.
    inside = await installation.park(f"{NARROW_PREFIX}{uuid.uuid4().hex}")
    await start(callback_token=await installation.tokens.of(inside.id), **asked)
    assert answer_of(await inside.result()) == "hello"


@pytest.mark.contract(TOKENS, "agent", "workflow")
async def test_token_of_a_namespace_that_is_not_allowed(
    installation: Installation, executions: AnyExecutions, parked: WorkflowHandle[Any, Any]
) -> None:
    token = await installation.tokens.of(parked.id)
    await refused(
        executions,
        grpc.StatusCode.PERMISSION_DENIED,
        callback_token=token,
        caller={"namespace": "elsewhere"},
    )


@pytest.mark.contract(REPLAYS, "agent", "workflow")
async def test_replayed(installation: Installation, executions: AnyExecutions) -> None:
    message, request_id = uuid.uuid4().hex, uuid.uuid4().hex
    first = await executions.ask("held", message, request_id=request_id)
    again = await executions.ask("held", message, request_id=request_id)
    assert first.id == again.id
    (await installation.gate.held(message)).answer("once")
    await executions.ended(first.id)
    closed = await executions.ask("held", message, request_id=request_id)
    assert closed.id == first.id
    assert phase_name(closed) == "COMPLETED"
    assert answer_of(closed) == "once"
    assert len(installation.gate.calls(message)) == 1


@pytest.mark.contract(REPLAYS, "agent", "workflow")
async def test_replayed_with_a_token(installation: Installation, executions: AnyExecutions) -> None:
    """A caller that joins what runs already is called back; one that comes late gets the answer."""
    message, request_id = uuid.uuid4().hex, uuid.uuid4().hex
    asked = executions.fields("held", message) | {"request_id": request_id}
    first = await executions.start(**asked)
    parked = await installation.park()
    token = await installation.tokens.of(parked.id)
    joined = await executions.start(**asked, callback_token=token)
    assert joined.id == first.id
    (await installation.gate.held(message)).answer("once")
    assert answer_of(await parked.result()) == "once"
    # Its caller may go on before the execution's workflow has closed.
    await installation.client.get_workflow_handle(first.id).result()
    late = await installation.park()
    closed = await executions.start(**asked, callback_token=await installation.tokens.of(late.id))
    assert answer_of(closed) == "once"
    await late.terminate()
    assert len(installation.gate.calls(message)) == 1


@pytest.mark.contract(REPLAYS, "agent", "workflow")
@pytest.mark.parametrize("state", ["open", "closed"])
async def test_with_another_spec(
    installation: Installation, executions: AnyExecutions, state: str
) -> None:
    message, request_id = uuid.uuid4().hex, uuid.uuid4().hex
    asked = executions.fields("held", message) | {"request_id": request_id}
    first = await executions.start(**asked)
    call = await installation.gate.held(message)
    if state == "closed":
        call.answer("once")
        await executions.ended(first.id)
    another_message, another_name = (
        executions.fields("held", "other"),
        executions.fields("echo", message),
    )
    for other in (another_message, another_name, {"labels": {"a": "b"}}):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await executions.start(**(asked | other))
        assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
        assert first.id in (caught.value.details() or "")
    if state == "open":
        call.answer("once")
    assert answer_of(await executions.ended(first.id)) == "once"
    assert len(installation.gate.calls(message)) == 1


@pytest.mark.contract(REPLAYS, "agent", "workflow")
async def test_another_principal_has_requests_of_its_own(
    executions: AnyExecutions, narrow: Mapping[Kind, Any]
) -> None:
    asked = executions.fields("echo", "hello") | {"request_id": uuid.uuid4().hex}
    mine = await executions.start(**asked)
    theirs = await narrow[executions.kind](**asked)
    assert mine.id != theirs.id
