"""What the API makes of tokens and request ids that come with workflows."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from temporalio.client import WorkflowHandle

from stigma.workflow.v1.workflow_execution_pb2 import WorkflowExecution
from stigma.workflow.v1.workflow_execution_service_pb2 import StartWorkflowRequest
from stigma.workflow.v1.workflow_execution_service_pb2_grpc import WorkflowExecutionServiceStub
from tests.integration.installation import NARROW_KEY, Installation
from tests.integration.workflow_calls import WorkflowCalls
from tests.stack.channels import open_channel

TOKENS = (
    "token corrupt or of a foreign namespace / already resolved / "
    "outside the principal's workflow prefixes"
)
REPLAYS = "request replayed / with another spec"

CORRUPTIONS: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda token: token[:-7],
    "noise": lambda token: bytes(range(256)),
    "too long": lambda token: token * 200,
}


@pytest.fixture
async def parked(installation: Installation) -> AsyncIterator[WorkflowHandle[Any, Any]]:
    """A caller that waits for somebody."""
    handle = await installation.park()
    yield handle
    await handle.terminate()


async def refused(workflows: WorkflowCalls, code: grpc.StatusCode, **fields: Any) -> None:
    """Assert that a start is refused with a code and starts nothing."""
    request_id = uuid.uuid4().hex
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await workflows.start(workflow_id="echo", request_id=request_id, **fields)
    assert caught.value.code() is code, caught.value.details()
    assert not await workflows.exists(workflows.execution_id(request_id))


@pytest.mark.contract(TOKENS, "workflow")
@pytest.mark.parametrize("corrupt", CORRUPTIONS.values(), ids=list(CORRUPTIONS))
async def test_token_corrupt(
    installation: Installation,
    workflows: WorkflowCalls,
    parked: WorkflowHandle[Any, Any],
    corrupt: Callable[[bytes], bytes],
) -> None:
    token = corrupt(await installation.tokens.of(parked.id))
    await refused(workflows, grpc.StatusCode.INVALID_ARGUMENT, callback_token=token)


@pytest.mark.contract(TOKENS, "workflow")
async def test_token_resolved(installation: Installation, workflows: WorkflowCalls) -> None:
    parked = await installation.park()
    token = await installation.tokens.of(parked.id)
    await installation.client.get_async_activity_handle(task_token=token).complete("done")
    await parked.result()
    await refused(workflows, grpc.StatusCode.FAILED_PRECONDITION, callback_token=token)


@pytest.mark.contract(TOKENS, "workflow")
async def test_token_of_a_namespace_that_is_not_allowed(
    installation: Installation, workflows: WorkflowCalls, parked: WorkflowHandle[Any, Any]
) -> None:
    token = await installation.tokens.of(parked.id)
    denied = grpc.StatusCode.PERMISSION_DENIED
    await refused(workflows, denied, callback_token=token, caller={"namespace": "elsewhere"})


@pytest.mark.contract(TOKENS, "workflow")
async def test_token_outside_the_prefixes(
    installation: Installation, workflows: WorkflowCalls, parked: WorkflowHandle[Any, Any]
) -> None:
    request = StartWorkflowRequest(
        workflow_id="echo",
        request_id=uuid.uuid4().hex,
        callback_token=await installation.tokens.of(parked.id),
    )
    async with open_channel(installation.stack.api_address, api_key=NARROW_KEY) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await WorkflowExecutionServiceStub(channel).StartWorkflow(request, timeout=15)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert not await workflows.exists(workflows.execution_id(request.request_id, "narrow"))


@pytest.mark.contract(REPLAYS, "workflow")
async def test_replayed(installation: Installation, workflows: WorkflowCalls) -> None:
    """Who joins what runs already is called back; who comes late gets the answer."""
    message, request_id = uuid.uuid4().hex, uuid.uuid4().hex
    asked = {
        "workflow_id": "held",
        "input_json": json.dumps({"said": message}),
        "request_id": request_id,
    }
    first = await workflows.start(**asked)
    parked = await installation.park()
    token = await installation.tokens.of(parked.id)
    assert (await workflows.start(**asked, callback_token=token)).id == first.id
    (await installation.gate.held(message)).answer("once")
    result: WorkflowExecution = await parked.result()
    assert result.status.output.json == '{"said":"once"}'
    await installation.client.get_workflow_handle(first.id).result()
    closed = await workflows.start(**asked)
    assert closed.status.output.json == '{"said":"once"}'
    for other in ({"input_json": "1"}, {"workflow_id": "echo"}, {"labels": {"a": "b"}}):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await workflows.start(**(asked | other))
        assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
        assert first.id in (caught.value.details() or "")
    assert len(installation.gate.calls(message)) == 1
