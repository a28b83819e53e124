"""Calls of agents are counted once each: over replays, restarts, evictions and every outcome."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from temporalio.client import Client, WorkflowHandle
from temporalio.exceptions import ApplicationError

from services.zigflow_worker.tests.conftest import document
from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_COMPLETED,
    AgentExecution,
    AgentExecutionStatus,
    AgentOutput,
)
from stigma_client import StigmaPlugin
from tests.stack.waiting import eventually
from zigflow_worker.activities.document_directory import DocumentDirectory
from zigflow_worker.activities.engine import DocumentActivities
from zigflow_worker.metrics import AgentCallMetrics
from zigflow_worker.outgoing.client import HttpClient
from zigflow_worker.outgoing.policy import OutgoingPolicy
from zigflow_worker.settings import EngineSettings
from zigflow_worker.worker import new_worker, outgoing_calls, rpc_client

ASK = "do:\n  - ask: {call: agent, with: {agent: a, config: {timeout: PT10S}}}\n"
ASK_TWICE = (
    "do:\n  - ask: {call: agent, with: {agent: a}}\n  - again: {call: agent, with: {agent: a}}"
)
ASK_BRIEFLY = "do:\n  - ask: {call: agent, with: {agent: a, config: {timeout: PT0.5S}}}\n"

COMPLETED = AgentExecutionStatus(
    phase=AGENT_EXECUTION_PHASE_COMPLETED, output=AgentOutput(text="done")
)


@dataclass
class Site:
    """Engines that share a queue, each with a registry of its own."""

    client: Client
    api: Any
    documents: Path
    queue: str = field(default_factory=lambda: f"counted-{uuid.uuid4()}")

    @asynccontextmanager
    async def engine(self, *, cached: int = 100) -> AsyncIterator[CollectorRegistry]:
        """Run one engine."""
        registry = CollectorRegistry()
        async with new_worker(
            self.client,
            self.queue,
            DocumentActivities(DocumentDirectory(self.documents)),
            outgoing_calls(
                EngineSettings(), HttpClient(OutgoingPolicy()), rpc_client(EngineSettings())
            ),
            build_id="test",
            plugins=[StigmaPlugin(self.api.address)],
            interceptors=[AgentCallMetrics(registry)],
            max_cached_workflows=cached,
            graceful_shutdown_timeout=timedelta(seconds=2),
        ):
            yield registry

    async def start(self, body: str) -> WorkflowHandle[Any, Any]:
        """Start a document."""
        return await self.client.start_workflow(
            "example",
            {"document": document(body)},
            id=f"counted-{uuid.uuid4()}",
            task_queue=self.queue,
        )

    async def asked(self, count: int = 1) -> Any:
        """Return the activity of so manieth call, once it waits."""
        await eventually(lambda: len(self.api.starts) >= count, what=f"{count} calls")
        token = self.api.starts[count - 1].callback_token
        return self.client.get_async_activity_handle(task_token=token)


@pytest.fixture
def site(temporal: Client, api: Any, documents: Path) -> Site:
    return Site(temporal, api, documents)


def counts(*registries: CollectorRegistry) -> dict[str, float]:
    """What was counted, without zeros, over all of them."""
    found: dict[str, float] = {}
    for registry in registries:
        for name in ("started", "completed", "failed", "timeout", "cancelled"):
            value = registry.get_sample_value(f"zigflow_agent_activity_{name}_total") or 0
            if value:
                found[name] = found.get(name, 0) + value
    return found


def duration(registry: CollectorRegistry, outcome: str, part: str = "sum") -> float:
    value = registry.get_sample_value(
        f"zigflow_agent_activity_duration_seconds_{part}", {"outcome": outcome}
    )
    assert value is not None
    return value


def test_every_counter_is_there_before_the_first_call() -> None:
    registry = CollectorRegistry()
    AgentCallMetrics(registry)
    for name in ("started", "completed", "failed", "timeout", "cancelled"):
        assert registry.get_sample_value(f"zigflow_agent_activity_{name}_total") == 0
    for outcome in ("completed", "failed", "timeout", "cancelled"):
        assert duration(registry, outcome, "count") == 0


@pytest.mark.parametrize("cached", [0, 100])
async def test_replays_count_nothing_again(site: Site, cached: int) -> None:
    """Without a cache every workflow task replays, and every run is evicted at once."""
    async with site.engine(cached=cached) as registry:
        handle = await site.start(ASK_TWICE)
        await (await site.asked(1)).complete(AgentExecution(id="agent-42", status=COMPLETED))
        second = await site.asked(2)
        assert counts(registry) == {"started": 2, "completed": 1}
        await second.complete(AgentExecution(id="agent-42", status=COMPLETED))
        assert await handle.result() == "done"
        assert counts(registry) == {"started": 2, "completed": 2}
        assert duration(registry, "completed", "count") == 2


async def test_a_restart_between_start_and_outcome(site: Site) -> None:
    async with site.engine() as first:
        handle = await site.start(ASK)
        call = await site.asked()
    assert counts(first) == {"started": 1}
    async with site.engine() as second:
        await call.complete(AgentExecution(id="agent-42", status=COMPLETED))
        await handle.result()
    assert counts(second) == {"completed": 1}
    events = (await handle.fetch_history()).events
    [asked] = [e for e in events if e.HasField("activity_task_scheduled_event_attributes")]
    # By the run's clock, which stands at the beginning of the last task of its workflow.
    seen = [e for e in events if e.HasField("workflow_task_started_event_attributes")][-1]
    waited = seen.event_time.ToDatetime() - asked.event_time.ToDatetime()
    assert duration(second, "completed") == pytest.approx(waited.total_seconds(), abs=0.5)


Act = Callable[[Any, WorkflowHandle[Any, Any]], Any]


@pytest.mark.parametrize(
    ("outcome", "body", "act"),
    [
        ("failed", ASK, lambda call, _: call.fail(_error("AGENT_EXECUTION_FAILED"))),
        ("failed", ASK, lambda call, _: call.fail(_error("SOMETHING_ELSE"))),
        ("timeout", ASK, lambda call, _: call.fail(_error("AGENT_EXECUTION_TIMEOUT"))),
        ("timeout", ASK_BRIEFLY, None),
        ("cancelled", ASK, lambda call, _: call.fail(_error("AGENT_EXECUTION_CANCELLED"))),
        ("cancelled", ASK, lambda _, handle: handle.cancel()),
    ],
)
async def test_outcomes(site: Site, outcome: str, body: str, act: Act | None) -> None:
    async with site.engine() as registry:
        handle = await site.start(body)
        call = await site.asked()
        if act is not None:
            await act(call, handle)
        with pytest.raises(Exception, match="Workflow execution"):
            await handle.result()
    assert counts(registry) == {"started": 1, outcome: 1}
    assert duration(registry, outcome, "count") == 1


def _error(error_type: str) -> ApplicationError:
    return ApplicationError("a failure", type=error_type, non_retryable=True)
