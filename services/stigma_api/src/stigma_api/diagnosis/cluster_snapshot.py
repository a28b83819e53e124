"""The numbers of the whole installation at one time, and the gauges that show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from stigma.contracts.executions import Kind


@dataclass(frozen=True)
class ClusterSnapshot:
    """The numbers of one refresh."""

    running: dict[Kind, int]
    pending: dict[str, int]
    agents_pending: int
    stuck: int
    approaching: int
    waiting_for_input: dict[str, int]
    backlog: dict[tuple[str, ...], int]
    taken: float
    """Monotonic time."""

    def gauges(self) -> Iterator[Metric]:
        """Yield the numbers as Prometheus reads them."""
        yield _gauge(
            "stigma_workflow_running",
            "Executions that run, of agents and of workflows.",
            ["kind"],
            {(kind.value,): count for kind, count in self.running.items()},
        )
        yield _gauge(
            "pending_external_activities",
            "Callers' activities that wait for an execution, by how long they have.",
            ["age_bucket"],
            {(age,): count for age, count in self.pending.items()},
        )
        yield _gauge(
            "zigflow_agent_activity_pending",
            "Callers' activities that wait for an agent, the engine's and others'.",
            [],
            {(): self.agents_pending},
        )
        yield _gauge(
            "stigma_async_activity_stuck",
            "Callers' activities that have waited for longer than STIGMA_STUCK_AFTER.",
            [],
            {(): self.stuck},
        )
        yield _gauge(
            "stigma_async_activity_approaching_timeout",
            "Executions that run and have used up four fifths of their time.",
            [],
            {(): self.approaching},
        )
        yield _gauge(
            "stigma_executions_waiting_for_input",
            "Executions that wait for people, by how long their oldest pending input has.",
            ["age_bucket"],
            {(age,): count for age, count in self.waiting_for_input.items()},
        )
        yield _gauge(
            "stigma_task_queue_backlog",
            "Tasks that no worker has taken yet.",
            ["task_queue", "task_type"],
            self.backlog,
        )


def _gauge(
    name: str, text: str, labels: list[str], values: Mapping[tuple[str, ...], int]
) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for label_values, value in values.items():
        family.add_metric(label_values, value)
    return family
