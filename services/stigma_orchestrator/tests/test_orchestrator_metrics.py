"""Executions are counted once each, over replays, evictions, continuations and every end."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry
from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from stigma.agent.v1.agent_execution_pb2 import AgentExecution
from stigma.internal.v1.execution_pb2 import AgentWorkflowInput
from stigma_orchestrator.delivery.metrics import CallbackMetrics
from stigma_orchestrator.executions.metrics import PHASES, ExecutionMetrics

HOUR = 3600


@workflow.defn(name="AgentWorkflow")
class PlayedExecution:
    """Ends as its id says, after a signal that may come after an eviction."""

    def __init__(self) -> None:
        self._told = False

    @workflow.run
    async def run(self, request: AgentWorkflowInput) -> AgentExecution:
        await workflow.wait_condition(lambda: self._told)
        if request.execution_id == "continues":
            started = datetime.fromtimestamp(workflow.time() - HOUR, UTC)
            request.carried.start_time.FromDatetime(started)
            request.execution_id = "COMPLETED"
            workflow.continue_as_new(request)
        if request.execution_id.startswith("AGENT_"):
            raise ApplicationError("ended", type=request.execution_id, non_retryable=True)
        return AgentExecution(id=request.execution_id)

    @workflow.signal
    def end(self) -> None:
        """Go on to the end."""
        self._told = True


@workflow.defn
class Unrelated:
    """Another workflow of the same worker."""

    @workflow.run
    async def run(self) -> None:
        """End at once."""


@asynccontextmanager
async def counted(
    client: Client, queue: str, cached: int = 100
) -> AsyncIterator[CollectorRegistry]:
    """Run a worker, with a registry of its own."""
    registry = CollectorRegistry()
    async with Worker(
        client,
        task_queue=queue,
        workflows=[PlayedExecution, Unrelated],
        interceptors=[ExecutionMetrics(registry)],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=cached,
        graceful_shutdown_timeout=timedelta(seconds=1),
    ):
        yield registry


async def start(
    client: Client, queue: str, end: str
) -> WorkflowHandle[PlayedExecution, AgentExecution]:
    handle = await client.start_workflow(
        PlayedExecution.run,
        AgentWorkflowInput(execution_id=end),
        id=f"agent-{uuid.uuid4()}",
        task_queue=queue,
    )
    await handle.query("__stack_trace")  # it was taken by a worker
    return handle


def counts(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    found = {
        (kind, phase): registry.get_sample_value(
            "stigma_executions_ended_total", {"kind": kind, "phase": phase}
        )
        for kind in ("agent", "workflow")
        for phase in PHASES
    }
    assert None not in found.values(), "each is there before its first end"
    return {key: value for key, value in found.items() if value}


def seconds(registry: CollectorRegistry) -> float:
    name = "stigma_execution_duration_seconds_sum"
    return registry.get_sample_value(name, {"kind": "agent"}) or 0


@pytest.mark.parametrize("cached", [0, 100])
@pytest.mark.parametrize(
    ("end", "phase"),
    [
        ("COMPLETED", "COMPLETED"),
        ("AGENT_EXECUTION_FAILED", "FAILED"),
        ("AGENT_EXECUTION_TIMEOUT", "TIMED_OUT"),
        ("AGENT_EXECUTION_CANCELLED", "CANCELLED"),
        ("cancel", "CANCELLED"),
    ],
)
async def test_an_execution_is_counted_when_it_ends(
    client: Client, end: str, phase: str, cached: int
) -> None:
    queue = f"counted-{uuid.uuid4()}"
    async with counted(client, queue, cached) as registry:
        handle = await start(client, queue, end)
        assert counts(registry) == {}
        await (handle.cancel() if end == "cancel" else handle.signal("end"))
        if phase == "COMPLETED":
            await handle.result()
        else:
            with pytest.raises(WorkflowFailureError):
                await handle.result()
        await client.execute_workflow(Unrelated.run, id=f"u-{uuid.uuid4()}", task_queue=queue)
        assert counts(registry) == {("agent", phase): 1}


async def test_a_continued_execution_is_one(client: Client) -> None:
    queue = f"counted-{uuid.uuid4()}"
    async with counted(client, queue) as registry:
        handle = await start(client, queue, "continues")
        await handle.signal("end")
        newest = client.get_workflow_handle(handle.id)
        await newest.query("__stack_trace")
        assert counts(registry) == {}
        await newest.signal("end")
        await newest.result()
        assert counts(registry) == {("agent", "COMPLETED"): 1}
        assert seconds(registry) == pytest.approx(HOUR, abs=60)


async def test_a_restart_counts_nothing_again(client: Client) -> None:
    queue = f"counted-{uuid.uuid4()}"
    async with counted(client, queue) as first:
        handle = await start(client, queue, "COMPLETED")
    assert counts(first) == {}, "a run that leaves the cache has not ended"
    async with counted(client, queue) as second:
        await handle.signal("end")
        await handle.result()
        await handle.query("__stack_trace")
        assert counts(second) == {("agent", "COMPLETED"): 1}


def test_every_outcome_of_a_delivery_is_there_before_the_first() -> None:
    registry = CollectorRegistry()
    CallbackMetrics(registry)
    for status in ("success", "gone", "error"):
        labels = {"status": status, "service": "stigma_orchestrator"}
        assert registry.get_sample_value("external_activity_completions_total", labels) == 0
    missing = {"error_type": "NOT_FOUND"}
    assert registry.get_sample_value("external_activity_errors_total", missing) == 0


def test_no_status_is_there_that_no_delivery_ends_with() -> None:
    registry = CollectorRegistry()
    CallbackMetrics(registry)
    for code in ("OK", "ALREADY_EXISTS", "OUT_OF_RANGE"):
        unused = {"error_type": code}
        assert registry.get_sample_value("external_activity_errors_total", unused) is None
