"""What the API makes of tokens and request ids. Refused means: nothing was started."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import WorkflowHandle

from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma.agent.v1.agent_execution_service_pb2_grpc import AgentExecutionServiceStub
from stigma.contracts import ids, tokens
from stigma.internal.v1.task_token_pb2 import TaskToken
from tests.integration.installation import NARROW_KEY, NARROW_PREFIX, Installation, phase
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


async def refused(installation: Installation, code: grpc.StatusCode, **fields: Any) -> str:
    """Assert that a start is refused with a code and starts nothing; the one line it answers."""
    request_id = uuid.uuid4().hex
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await installation.start(
            **({"agent_id": "echo", "message": "hello", "request_id": request_id} | fields)
        )
    assert caught.value.code() is code, caught.value.details()
    assert not await installation.exists(installation.execution_id(request_id))
    line = caught.value.details() or ""
    assert line
    assert "\n" not in line
    return line


@pytest.mark.contract(TOKENS)
@pytest.mark.parametrize("corrupt", CORRUPTIONS.values(), ids=list(CORRUPTIONS))
async def test_token_corrupt(
    installation: Installation,
    parked: WorkflowHandle[Any, Any],
    corrupt: Callable[[bytes], bytes],
) -> None:
    token = corrupt(await installation.tokens.of(parked.id))
    line = await refused(installation, grpc.StatusCode.INVALID_ARGUMENT, callback_token=token)
    assert "callback_token" in line


@pytest.mark.contract(TOKENS)
async def test_token_resolved(installation: Installation) -> None:
    parked = await installation.park()
    token = await installation.tokens.of(parked.id)
    await installation.client.get_async_activity_handle(task_token=token).complete("done")
    await parked.result()
    precondition = grpc.StatusCode.FAILED_PRECONDITION
    await refused(installation, precondition, callback_token=token)


@pytest.mark.contract(TOKENS)
async def test_token_of_a_foreign_namespace(
    installation: Installation, parked: WorkflowHandle[Any, Any]
) -> None:
    other = await installation.client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace="temporal-system")
    )
    token = changed(await installation.tokens.of(parked.id), namespace_id=other.namespace_info.id)
    line = await refused(installation, grpc.StatusCode.INVALID_ARGUMENT, callback_token=token)
    assert "callback_token" in line


@pytest.mark.contract(TOKENS)
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
    installation: Installation, parked: WorkflowHandle[Any, Any], field: str, other: object
) -> None:
    token = changed(await installation.tokens.of(parked.id), **{field: other})
    precondition = grpc.StatusCode.FAILED_PRECONDITION
    await refused(installation, precondition, callback_token=token)


@pytest.mark.contract(TOKENS)
async def test_token_of_what_may_still_come(
    installation: Installation, parked: WorkflowHandle[Any, Any]
) -> None:
    """To Temporal, an event it does not have yet may be on its way: that is worth a retry."""
    token = changed(await installation.tokens.of(parked.id), scheduled_event_id=4711)
    await refused(installation, grpc.StatusCode.UNAVAILABLE, callback_token=token)


@pytest.mark.contract(TOKENS)
async def test_token_outside_the_prefixes(
    installation: Installation, parked: WorkflowHandle[Any, Any]
) -> None:
    inside = await installation.park(f"{NARROW_PREFIX}{uuid.uuid4().hex}")
    async with open_channel(installation.stack.api_address, api_key=NARROW_KEY) as channel:
        executions = AgentExecutionServiceStub(channel)
        request = StartAgentRequest(
            agent_id="echo",
            message="hello",
            request_id=uuid.uuid4().hex,
            callback_token=await installation.tokens.of(parked.id),
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await executions.StartAgent(request, timeout=15)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        namespace = installation.stack.namespace
        assert not await installation.exists(
            ids.execution_id("narrow", namespace, request.request_id)
        )
        # The key itself is good, where it may be used.
        request.callback_token = await installation.tokens.of(inside.id)
        await executions.StartAgent(request, timeout=15)
    result = await inside.result()
    assert result.status.output.text == "hello"


@pytest.mark.contract(TOKENS)
async def test_token_of_a_namespace_that_is_not_allowed(
    installation: Installation, parked: WorkflowHandle[Any, Any]
) -> None:
    token = await installation.tokens.of(parked.id)
    await refused(
        installation,
        grpc.StatusCode.PERMISSION_DENIED,
        callback_token=token,
        caller={"namespace": "elsewhere"},
    )


@pytest.mark.contract(REPLAYS)
async def test_replayed(installation: Installation) -> None:
    message, request_id = uuid.uuid4().hex, uuid.uuid4().hex
    asked: dict[str, Any] = {"agent_id": "held", "message": message, "request_id": request_id}
    first = await installation.start(**asked)
    again = await installation.start(**asked)
    assert first.id == again.id
    (await installation.gate.held(message)).answer("once")
    await installation.ended(first.id)
    closed = await installation.start(**asked)
    assert closed.id == first.id
    assert phase(closed) == "COMPLETED"
    assert closed.status.output.text == "once"
    assert len(installation.gate.calls(message)) == 1


@pytest.mark.contract(REPLAYS)
async def test_replayed_with_a_token(installation: Installation) -> None:
    """A caller that joins what runs already is called back; one that comes late gets the answer."""
    message, request_id = uuid.uuid4().hex, uuid.uuid4().hex
    asked: dict[str, Any] = {"agent_id": "held", "message": message, "request_id": request_id}
    first = await installation.start(**asked)
    parked = await installation.park()
    token = await installation.tokens.of(parked.id)
    joined: AgentExecution = await installation.start(**asked, callback_token=token)
    assert joined.id == first.id
    (await installation.gate.held(message)).answer("once")
    result = await parked.result()
    assert result.status.output.text == "once"
    # Its caller may go on before the agent's workflow has closed.
    await installation.client.get_workflow_handle(first.id).result()
    late = await installation.park()
    closed = await installation.start(**asked, callback_token=await installation.tokens.of(late.id))
    assert closed.status.output.text == "once"
    await late.terminate()
    assert len(installation.gate.calls(message)) == 1


@pytest.mark.contract(REPLAYS)
@pytest.mark.parametrize("state", ["open", "closed"])
async def test_with_another_spec(installation: Installation, state: str) -> None:
    message, request_id = uuid.uuid4().hex, uuid.uuid4().hex
    first = await installation.start(agent_id="held", message=message, request_id=request_id)
    call = await installation.gate.held(message)
    if state == "closed":
        call.answer("once")
        await installation.ended(first.id)
    for other in ({"message": "other"}, {"agent_id": "echo"}, {"labels": {"a": "b"}}):
        asked = {"agent_id": "held", "message": message, "request_id": request_id} | other
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await installation.start(**asked)
        assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
        assert first.id in (caught.value.details() or "")
    if state == "open":
        call.answer("once")
    assert (await installation.ended(first.id)).status.output.text == "once"
    assert len(installation.gate.calls(message)) == 1


@pytest.mark.contract(REPLAYS)
async def test_another_principal_has_requests_of_its_own(installation: Installation) -> None:
    request = StartAgentRequest(agent_id="echo", message="hello", request_id=uuid.uuid4().hex)
    mine = await installation.start(agent_id="echo", message="hello", request_id=request.request_id)
    async with open_channel(installation.stack.api_address, api_key=NARROW_KEY) as channel:
        theirs = await AgentExecutionServiceStub(channel).StartAgent(request, timeout=15)
    assert mine.id != theirs.id
