"""A real Prometheus over the four services: alerts fire, every query has data.

The rules are the shipped ones with their durations divided by 60; what counts as stuck is set to
some seconds instead of a day, as an operator would. One installation, with two replicas of the
API, serves all of these tests.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stigma.workflow.v1.workflow_execution_service_pb2 import (
    CancelWorkflowExecutionRequest,
    StartWorkflowRequest,
)
from stigma.workflow.v1.workflow_execution_service_pb2_grpc import WorkflowExecutionServiceStub
from stigma.workflow.v1.workflow_pb2 import WorkflowSpec
from tests.docs.pages import ROOT, read_page
from tests.integration.installation import KEY, Installation, environment
from tests.integration.model_gate import ModelGate
from tests.observability.conditions import (
    CONDITIONS,
    GOOD_DOCUMENT,
    all_wrong,
    forbid_deliveries,
    leave,
    resolve_otherwise,
)
from tests.observability.outages import (
    OUTAGES,
    kill_the_engine,
    put_the_clock_forward,
    refuse_the_api,
    slow_deliveries,
)
from tests.observability.prometheus import Prometheus, Target, prometheus
from tests.observability.rules import CHARTS, SERVICES, hurried
from tests.stack.channels import open_channel
from tests.stack.faults import FaultProxy
from tests.stack.stack import Stack
from tests.stack.waiting import eventually
from tools.metrics import catalog

if TYPE_CHECKING:
    from tests.stack.plugin import StartStack, TemporalServer

FACTOR = 60
LEAST_RANGE = timedelta(seconds=10)
PENDING = "pending_external_activities"
PATIENCE = timedelta(seconds=120)
OF_A_SLOW_MACHINE = {"StigmaDeliveriesSlow", "StigmaBacklogGrows"}
IN_A_HURRY = {"STIGMA_CLUSTER_METRICS_INTERVAL": "1", "STIGMA_STUCK_AFTER": "5"}

CLUSTER_GAUGES = {metric.name for metric in catalog.by_service()["stigma_api"] if metric.of_cluster}


@dataclass(frozen=True)
class Watched:
    """An installation, the Prometheus that watches it, and what services reach Temporal through."""

    site: Installation
    prometheus: Prometheus
    temporal_of: Mapping[str, FaultProxy]

    @property
    def stack(self) -> Stack:
        """Its services."""
        return self.site.stack


@pytest.fixture(scope="module")
async def watched(
    temporal_server: TemporalServer, new_stack: StartStack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Watched]:
    prometheus()  # or these tests are skipped, before anything is started
    directory = tmp_path_factory.mktemp("watched")
    temporal_of = {
        service: FaultProxy(temporal_server.address)
        for service in ("stigma_api", "stigma_orchestrator")
    }
    async with (
        temporal_of["stigma_api"] as of_api,
        temporal_of["stigma_orchestrator"] as of_orchestrator,
    ):
        async with ModelGate() as gate:
            variables = {name: dict(own) for name, own in environment(gate, directory).items()}
            variables["stigma_api"] |= IN_A_HURRY | {"TEMPORAL_ADDRESS": of_api.address}
            variables["stigma_orchestrator"] = {"TEMPORAL_ADDRESS": of_orchestrator.address}
            forbid_deliveries(of_orchestrator)
            stack = await new_stack(environment=variables)
            await stack.replicate("stigma_api")
            targets = [Target("stigma-api", "api-1", stack.process("stigma_api", 1).admin_port)]
            for job, service in SERVICES.items():
                targets.append(Target(job, f"{job}-0", stack.process(service).admin_port))
            rules = {job: hurried(job, factor=FACTOR, least=LEAST_RANGE) for job in SERVICES}
            async with (
                Installation(stack, gate, directory) as site,
                Prometheus(directory, targets, rules) as watching,
            ):
                yield Watched(site, watching, temporal_of)
        await stack.stop()


async def test_the_real_conditions_fire(
    watched: Watched, capsys: pytest.CaptureFixture[str]
) -> None:
    await eventually(lambda: _all_well(watched), what="scrapes of everything, and no alert")
    fired: dict[str, float] = {}
    wanted = {condition.alert for condition in CONDITIONS}
    began = time.monotonic()

    async def all_fired() -> bool:
        for name in await watched.prometheus.firing():
            fired.setdefault(name, time.monotonic() - began)
        return fired.keys() >= wanted

    async with all_wrong(watched.site):
        await eventually(
            all_fired, within=PATIENCE, what=lambda: f"{wanted - fired.keys()} to fire"
        )
    assert fired.keys() - wanted <= OF_A_SLOW_MACHINE, "nothing else is wrong"
    with capsys.disabled():
        _show({condition.alert: condition.text for condition in CONDITIONS}, fired)


async def test_every_query_of_the_dashboard_has_data(watched: Watched) -> None:
    handle = await watched.site.run_document(GOOD_DOCUMENT)
    await handle.result()
    queries = {
        target["expr"]: panel["title"]
        for file in CHARTS.glob("*/files/dashboards/*.json")
        for panel in json.loads(file.read_text())["panels"]
        for target in panel.get("targets", [])
    }
    assert len(queries) > 30

    async def empty() -> dict[str, str]:
        return {
            title: query
            for query, title in queries.items()
            if not await watched.prometheus.query(query)
        }

    async def none_empty() -> bool:
        return not await empty()

    try:
        await eventually(none_empty)
    except TimeoutError:
        assert await empty() == {}


async def test_every_query_of_the_rules_is_evaluated(watched: Watched) -> None:
    rules = await watched.prometheus.rules()
    assert len(rules) == sum(
        len(hurried(job, factor=1, least=LEAST_RANGE)["groups"][0]["rules"]) for job in SERVICES
    )
    assert {rule["name"]: rule["lastError"] for rule in rules if rule["health"] != "ok"} == {}


async def test_what_services_measure_is_on_the_page(watched: Watched) -> None:
    known = catalog.series()
    for service in SERVICES.values():
        shown = await _families(watched, service)
        unknown = {name for name in shown if not name.startswith("temporal_")} - known
        assert unknown == set(), f"{service}: run python -m tools.metrics"


async def test_labels_are_bounded(watched: Watched) -> None:
    """No id, and nothing that a caller has written."""
    for service in SERVICES.values():
        for family in (await _families(watched, service)).values():
            if family.name.startswith("temporal_"):
                continue
            for sample in family.samples:
                for value in sample.labels.values():
                    assert not re.search(r"[0-9a-f]{16}|alerts|for ever|too late", value), sample


async def test_callers_that_are_gone_are_no_failed_deliveries(watched: Watched) -> None:
    before = await _deliveries(watched)
    await resolve_otherwise(watched.site)
    await leave(watched.site)
    after = await _deliveries(watched)
    assert after["gone"] > before["gone"]
    assert after["error"] == before["error"]


async def test_workflow_executions_are_a_kind_of_their_own(watched: Watched) -> None:
    ended = "sum by (phase) (stigma_executions_ended_total{{kind='workflow', phase='{phase}'}})"
    before = await watched.prometheus.value(ended.format(phase="COMPLETED"))
    async with open_channel(watched.stack.api_address, api_key=KEY) as channel:
        executions = WorkflowExecutionServiceStub(channel)
        spec = WorkflowSpec(document=GOOD_DOCUMENT.replace("agent: echo", "agent: held"))
        started = await executions.StartWorkflow(StartWorkflowRequest(spec=spec))
        on_both = "count(stigma_workflow_running{kind='workflow'} == 1) == 2"
        await watched.prometheus.has(on_both)
        await executions.CancelWorkflowExecution(CancelWorkflowExecutionRequest(id=started.id))
        await watched.prometheus.has(f"{ended.format(phase='CANCELLED')} == 1")
        spec = WorkflowSpec(document=GOOD_DOCUMENT)
        await executions.StartWorkflow(StartWorkflowRequest(spec=spec))
    assert before is not None
    await watched.prometheus.has(f"{ended.format(phase='COMPLETED')} == {before + 1}")


async def test_replicas_agree_and_a_restart_forgets_nothing(watched: Watched) -> None:
    """What is left of the conditions waits for ever; ages alone go on."""
    before = await _at_rest(watched)
    await watched.stack.restart("stigma_api")
    assert await _at_rest(watched) == before
    expression = "sum(max without (instance, pod) (stigma_workflow_running))"

    async def seen_once() -> bool:
        return await watched.prometheus.value(expression) == before.running

    await eventually(seen_once, what=f"{before}, not counted once a replica")


async def test_outages_fire(watched: Watched, capsys: pytest.CaptureFixture[str]) -> None:
    """The last test: nothing of it is put right again."""
    site = watched.site
    fired: dict[str, dict[str, str]] = {}
    after: dict[str, float] = {}
    began = time.monotonic()

    async def fire(*alerts: str) -> None:
        async def all_fired() -> bool:
            fired.update(await watched.prometheus.firing())
            for name in fired:
                after.setdefault(name, time.monotonic() - began)
            return fired.keys() >= set(alerts)

        await eventually(all_fired, within=PATIENCE, what=lambda: f"{set(alerts) - fired.keys()}")

    await put_the_clock_forward(site)
    await fire("StigmaClockSkew")
    async with slow_deliveries(site, watched.temporal_of["stigma_orchestrator"]):
        await kill_the_engine(site)
        await fire("StigmaServiceDown", "StigmaBacklogGrows")
        assert fired["StigmaServiceDown"]["service"] == "zigflow-worker"
        assert fired["StigmaBacklogGrows"]["task_queue"] == site.stack.queues.engine
        await refuse_the_api(site, watched.temporal_of["stigma_api"])
        await fire("StigmaServiceNotReady", "StigmaClusterMetricsMissing", "StigmaDeliveriesSlow")
        assert fired["StigmaServiceNotReady"]["service"] == "stigma-api"
    with capsys.disabled():
        _show(OUTAGES, after)
    page = read_page(ROOT / "docs" / "runbooks" / "deliveries-slow.md")
    [asked] = [block.text for block in page.blocks if block.language == "promql"]
    found = await watched.prometheus.query(asked)
    assert {sample["metric"]["job"] for sample in found} == set(SERVICES)


def _show(conditions: Mapping[str, str], fired: Mapping[str, float]) -> None:
    """Print what was made, and when its alert fired."""
    rows = [f"| {alert} | {text} | {fired[alert]:.0f} s |" for alert, text in conditions.items()]
    head = ["", "| alert | condition made | fired after |", "|---|---|---|"]
    sys.stdout.write("\n".join([*head, *rows, ""]))


@dataclass(frozen=True)
class AtRest:
    """What both replicas say."""

    running: float
    pending: float


async def _at_rest(watched: Watched) -> AtRest:
    """Return what is left once it is stuck, all of it, and both replicas show the same."""

    async def same() -> AtRest | None:
        one, two = await asyncio.gather(*(_gauges(watched, replica) for replica in (0, 1)))
        if not one or one != two:
            return None
        found = AtRest(_sum(one, "stigma_workflow_running"), _sum(one, PENDING))
        at_rest = 0 < found.running == found.pending == _sum(one, "stigma_async_activity_stuck")
        return found if at_rest else None

    return await eventually(same, what="replicas that agree")


Gauges = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def _sum(gauges: Gauges, name: str) -> float:
    return sum(value for (gauge, _), value in gauges.items() if gauge == name)


async def _gauges(watched: Watched, replica: int) -> Gauges:
    families = await _families(watched, "stigma_api", replica)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for name in CLUSTER_GAUGES & families.keys()
        for sample in families[name].samples
    }


async def _deliveries(watched: Watched) -> dict[str, float]:
    name = "external_activity_completions_total"
    families = await _families(watched, "stigma_orchestrator")
    samples = [sample for sample in families[name].samples if sample.name == name]
    return {sample.labels["status"]: sample.value for sample in samples}


async def _families(watched: Watched, service: str, replica: int = 0) -> dict[str, Any]:
    status, page = await watched.stack.process(service, replica).admin("/metrics")
    assert status == 200
    return {
        sample.name: family
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


async def _all_well(watched: Watched) -> bool:
    scraped = await watched.prometheus.scraped()
    everything = len(scraped) == len(SERVICES) + 1 and set(scraped.values()) == {"up"}
    return everything and not await watched.prometheus.firing()
