"""Calls are counted and timed by kind and outcome, and by nothing that a document says."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput
from typing_extensions import override

from stigma.contracts.activities import CALL_AGENT
from stigma.contracts.engine_calls import CALL_GRPC, CALL_HTTP, FETCH_RESOURCE
from zigflow_worker.call_metrics import CallMetrics
from zigflow_worker.errors import COMMUNICATION


class Ends(ActivityInboundInterceptor):
    """An activity that ends in one way."""

    def __init__(self, error: BaseException | None) -> None:
        self._error = error

    @override
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        if self._error is not None:
            raise self._error


async def make_call(kind: str, error: BaseException | None = None) -> dict[tuple[str, str], float]:
    """Make a call that ends in one way; return what was counted, without zeros."""
    registry = CollectorRegistry()
    inbound = CallMetrics(registry).intercept_activity(Ends(error))
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, activity_type=kind)
    request: Any = None

    async def run() -> None:
        await inbound.execute_activity(request)

    if error is None:
        await environment.run(run)
    else:
        with pytest.raises(type(error)):
            await environment.run(run)
    return {
        (sample.labels["call"], sample.labels.get("outcome", "seconds")): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name in ("zigflow_calls_total", "zigflow_call_duration_seconds_count")
        and sample.value
    }


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "completed"),
        (ApplicationError("https://h?key=secret", type=COMMUNICATION.uri), "communication"),
        (ApplicationError("x", type="https://example.com/of-a-stranger"), "runtime"),
        (ValueError("secret"), "runtime"),
        (asyncio.CancelledError(), "cancelled"),
    ],
)
async def test_a_call_is_counted_by_its_outcome(error: BaseException | None, outcome: str) -> None:
    assert await make_call(CALL_HTTP, error) == {("http", outcome): 1, ("http", "seconds"): 1}


async def test_calls_are_told_apart_by_kind() -> None:
    assert await make_call(CALL_GRPC) == {("grpc", "completed"): 1, ("grpc", "seconds"): 1}
    assert await make_call(FETCH_RESOURCE) == {
        ("resource", "completed"): 1,
        ("resource", "seconds"): 1,
    }
    assert await make_call(CALL_AGENT) == {}
