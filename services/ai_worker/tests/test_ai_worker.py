"""The worker on a real Temporal server: heartbeats, cancels, retries, and the process itself."""

import asyncio
import os
import signal
import sys
import uuid
from datetime import timedelta

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from ai_worker.settings import Settings
from ai_worker.worker import new_worker
from stigma.agent.v1.agent_execution_pb2 import ROLE_USER, Message, Part
from stigma.contracts.activities import ModelActivities
from stigma.contracts.payloads import DATA_CONVERTER
from stigma.contracts.task_queues import TaskQueues
from stigma.internal.v1.execution_pb2 import ModelCallRequest, ModelCallResponse
from tests.stack.plugin import TemporalServer

CALLERS = "callers"


@workflow.defn
class OneCall:
    """Calls a model once, the way an agent does."""

    @workflow.run
    async def run(self, request: ModelCallRequest, prefix: str) -> ModelCallResponse:
        return await workflow.execute_activity_method(
            ModelActivities.call_model,
            request,
            task_queue=TaskQueues(prefix).ai,
            start_to_close_timeout=timedelta(minutes=1),
            heartbeat_timeout=timedelta(seconds=10),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            retry_policy=RetryPolicy(initial_interval=timedelta(seconds=50)),
        )


@pytest.fixture
async def client(temporal_server: TemporalServer) -> Client:
    return await Client.connect(
        temporal_server.address,
        namespace=temporal_server.namespace,
        data_converter=DATA_CONVERTER,
    )


@pytest.fixture
def prefix():
    return f"{uuid.uuid4()}-"


@pytest.fixture
async def start(client, prefix):
    """Start a call through a workflow."""
    async with Worker(
        client,
        task_queue=prefix + CALLERS,
        workflows=[OneCall],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):

        async def start(request):
            return await client.start_workflow(
                OneCall.run, args=[request, prefix], id=prefix, task_queue=prefix + CALLERS
            )

        yield start


@pytest.fixture
async def bench(client, prefix, server, new_bench):
    bench = await new_bench(server.openai())
    async with new_worker(client, bench.caller, Settings(task_queue_prefix=prefix)):
        yield bench


def request():
    task = Message(role=ROLE_USER, parts=[Part(text="Hello")])
    return ModelCallRequest(model="local:gpt-4o", step=1, messages=[task])


def completion():
    message = {"role": "assistant", "content": "Hi"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    head = {"id": "1", "object": "chat.completion", "created": 1750000000, "model": "gpt-4o"}
    return head | {"choices": [choice], "usage": usage}


async def test_a_cancelled_caller_closes_the_connection_within_seconds(server, bench, start):
    server.reply(hang=True)
    running = await start(request())
    await asyncio.wait_for(server.received.wait(), 60)
    await running.cancel()
    await asyncio.wait_for(server.disconnected.wait(), 15)
    with pytest.raises(WorkflowFailureError) as caught:
        await running.result()
    assert isinstance(caught.value.cause, CancelledError | ActivityError)


async def test_a_terminated_caller_closes_the_connection_within_seconds(server, bench, start):
    server.reply(hang=True)
    running = await start(request())
    await asyncio.wait_for(server.received.wait(), 60)
    await running.terminate()
    await asyncio.wait_for(server.disconnected.wait(), 15)


async def test_the_next_try_comes_when_the_provider_asked_for_it(server, bench, start):
    server.reply({"error": {}}, status=429, headers={"retry-after": "1"})
    server.reply(completion())
    response = await (await start(request())).result()
    first, second = server.times
    assert response.message.parts[0].text == "Hi"
    assert len(server.requests) == 2
    assert 1 <= second - first < 40  # the retry policy alone would wait 50 s


async def test_a_final_error_is_not_tried_again(server, bench, start):
    server.reply({"error": {}}, status=401)
    with pytest.raises(WorkflowFailureError) as caught:
        await (await start(request())).result()
    assert isinstance(caught.value.cause, ActivityError)
    failure = caught.value.cause.cause
    assert isinstance(failure, ApplicationError)
    assert failure.type == "AUTHENTICATION"
    assert failure.details[0]["reason"] == "AUTHENTICATION"
    assert failure.cause is None
    assert len(server.requests) == 1


async def test_the_process_serves_calls_and_stops_when_told(client, prefix, start):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ai_worker",
        env=os.environ
        | {
            "TEMPORAL_ADDRESS": client.service_client.config.target_host,
            "STIGMA_TASK_QUEUE_PREFIX": prefix,
            "STIGMA_ADMIN_PORT": "0",
            "STIGMA_LOG_FORMAT": "json",
            "OPENAI_API_KEY": "sk-super-secret-key-4711",
        },
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        call = ModelCallRequest(model="scripted:x", step=1, message="a-confidential-message")
        response = await asyncio.wait_for((await start(call)).result(), 60)
        assert response.message.parts[0].text == "a-confidential-message"
        process.send_signal(signal.SIGTERM)
        out, _ = await asyncio.wait_for(process.communicate(), 30)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0
    assert out.count(b'"event": "model_call_started"') == 1
    assert out.count(b'"event": "model_call_completed"') == 1
    assert b"4711" not in out
    assert b"confidential" not in out
