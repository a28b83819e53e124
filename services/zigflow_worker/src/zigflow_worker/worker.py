"""The engine's worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from temporalio.client import Client
from temporalio.worker import Worker

from stigma.contracts.payloads import DATA_CONVERTER
from stigma.contracts.task_queues import TaskQueues
from stigma.runtime import Component, ServiceRuntime, WorkerComponent
from stigma.runtime.workers import worker_options
from stigma_client import StigmaPlugin
from zigflow_worker.activities.document_directory import DocumentDirectory
from zigflow_worker.activities.engine import DocumentActivities
from zigflow_worker.activities.interfaces import EngineActivities
from zigflow_worker.activities.rules import RuleEvaluator
from zigflow_worker.metrics import AgentCallMetrics
from zigflow_worker.settings import EngineSettings
from zigflow_worker.workflow import DocumentWorkflow


async def build(runtime: ServiceRuntime, *, settings: EngineSettings) -> Sequence[Component]:
    """Connect, and make the worker."""
    plugin = StigmaPlugin(connection=settings.api_connection())
    client = await runtime.connect_temporal(data_converter=DATA_CONVERTER)
    worker = new_worker(
        client,
        TaskQueues(settings.task_queue_prefix).engine,
        DocumentActivities(DocumentDirectory(settings.workflows_dir)),
        plugins=[plugin],
        interceptors=[AgentCallMetrics(runtime.metrics)],
        max_cached_workflows=settings.max_cached_workflows,
        max_concurrent_workflow_tasks=settings.max_concurrent_workflow_tasks,
        max_concurrent_activities=settings.max_concurrent_calls,
        **worker_options(settings),
    )
    return [WorkerComponent("engine", worker, runtime.readiness)]


def new_worker(
    client: Client, task_queue: str, activities: EngineActivities, **options: Any
) -> Worker:
    """Return a worker for documents; `options` are Worker's."""
    return Worker(
        client,
        task_queue=task_queue,
        workflows=[DocumentWorkflow],
        activities=[
            activities.resolve_definition,
            activities.end_activation,
            activities.record_plan,
            activities.wait_exactly,
            RuleEvaluator().evaluate_rules,
        ],
        **options,
    )
