"""Every metric of every service, asked from the objects that the services make themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.metrics_core import Metric

from ai_worker.mcp.metrics import McpMetrics
from ai_worker.models.metrics import ModelCallMetrics
from stigma.contracts.task_queues import TaskQueues
from stigma.runtime import Readiness, RpcMetrics
from stigma.runtime.metrics import export_readiness, export_task_count, new_registry
from stigma_api.access.principals import Principals
from stigma_api.access.principals_file import PrincipalsFile
from stigma_api.diagnosis.cluster_gauges import ClusterGauges
from stigma_api.executions.callback_tokens import CallbackTokenPolicy
from stigma_api.temporal.clock import TemporalClock
from stigma_orchestrator.delivery.metrics import CallbackMetrics, export_kept_watches
from stigma_orchestrator.executions.metrics import ExecutionMetrics
from zigflow_worker.call_metrics import CallMetrics
from zigflow_worker.metrics import AgentCallMetrics

_UNITS = ("seconds", "bytes", "usd", "tokens")
_SUFFIXES = {
    "counter": ("_total", "_created"),
    "histogram": ("_bucket", "_count", "_sum", "_created"),
    "info": ("_info",),
}


@dataclass(frozen=True)
class Described:
    """One metric: what a query must know of it."""

    name: str
    kind: str
    text: str
    labels: tuple[str, ...]
    values: dict[str, tuple[str, ...]]
    """Values of the labels that are known from the start, by label."""
    of_cluster: bool = False
    """Read from Temporal: the same on every replica."""

    @property
    def unit(self) -> str:
        """What is counted or measured; empty for a number of things."""
        return next((unit for unit in _UNITS if f"_{unit}" in self.name), "")

    @property
    def series(self) -> tuple[str, ...]:
        """The names that a query finds it by."""
        base = self.name.removesuffix("_total").removesuffix("_info")
        return (self.name, *(f"{base}{suffix}" for suffix in _SUFFIXES.get(self.kind, ())))


def every_service() -> list[Described]:
    """Return what each service has: its process, its event loop, its readiness."""
    registry = new_registry("any")
    loop = asyncio.new_event_loop()
    try:
        export_task_count(registry, loop)
        export_readiness(registry, Readiness())
        return list(_described(registry))
    finally:
        loop.close()


def by_service() -> dict[str, list[Described]]:
    """Return what each service has of its own."""
    found = {}
    for service, make in _SERVICES.items():
        registry = CollectorRegistry(auto_describe=True)
        make(registry)
        found[service] = list(_described(registry))
    return found


def series() -> set[str]:
    """Return every name that a query may ask for."""
    metrics = [*every_service(), *(one for own in by_service().values() for one in own)]
    return {name for metric in metrics for name in metric.series}


def _described(registry: CollectorRegistry) -> Iterator[Described]:
    labels = _label_names(registry)
    cluster = {
        family.name
        for collector in registry._collector_to_names
        if isinstance(collector, ClusterGauges)
        for family in collector.describe()
    }
    for family in _families(registry):
        names = labels.get(family.name) or _labels_of(family)
        yield Described(
            name=f"{family.name}{_main_suffix(family.type)}",
            kind=family.type,
            text=" ".join(family.documentation.split()),
            labels=names,
            values={label: values for label in names if (values := _values(family, label))},
            of_cluster=family.name in cluster,
        )


def _families(registry: CollectorRegistry) -> Iterator[Metric]:
    """Return every metric; those that have no value yet, as they describe themselves."""
    for collector in list(registry._collector_to_names):
        families = list(collector.collect())
        if isinstance(collector, ClusterGauges):
            families = list(collector.describe())
        yield from families


def _label_names(registry: CollectorRegistry) -> dict[str, tuple[str, ...]]:
    """Return the labels of each metric, also of one that has no value yet."""
    wrapped = [c for c in registry._collector_to_names if isinstance(c, MetricWrapperBase)]
    return {one._name: tuple(one._labelnames) for one in wrapped}


def _labels_of(family: Any) -> tuple[str, ...]:
    found = {label: None for sample in family.samples for label in sample.labels}
    return tuple(label for label in found if label not in {"le", "quantile"})


def _values(family: Any, label: str) -> tuple[str, ...]:
    if family.name.endswith("_info") or family.type == "info":
        return ()  # of this machine
    found = {sample.labels[label]: None for sample in family.samples if label in sample.labels}
    return tuple(found)


def _main_suffix(kind: str) -> str:
    return {"counter": "_total", "info": "_info"}.get(kind, "")


def _of_api(registry: CollectorRegistry) -> None:
    unused = cast("Any", None)
    RpcMetrics(registry)
    CallbackTokenPolicy(unused, "default", registry, enabled=True)
    PrincipalsFile(Path("principals.yaml"), Principals(()), registry)
    day = timedelta(days=1)
    clock = TemporalClock(unused, registry)
    ClusterGauges(unused, TaskQueues(), registry, clock, interval=day, stuck_after=day)


def _of_ai_worker(registry: CollectorRegistry) -> None:
    ModelCallMetrics(registry)
    McpMetrics(registry)


def _of_orchestrator(registry: CollectorRegistry) -> None:
    CallbackMetrics(registry)
    export_kept_watches(registry, ())
    ExecutionMetrics(registry)


def _of_engine(registry: CollectorRegistry) -> None:
    AgentCallMetrics(registry)
    CallMetrics(registry)


_SERVICES: dict[str, Callable[[CollectorRegistry], object]] = {
    "stigma_api": _of_api,
    "stigma_orchestrator": _of_orchestrator,
    "ai_worker": _of_ai_worker,
    "zigflow_worker": _of_engine,
}
