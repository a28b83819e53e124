"""The two workers: executions with their deliveries, and the watches of callers and turns."""

from __future__ import annotations

from collections.abc import Sequence

from temporalio.client import Client
from temporalio.worker import Interceptor, Worker

from stigma.contracts.payloads import DATA_CONVERTER
from stigma.contracts.task_queues import TaskQueues
from stigma.runtime import Component, ServiceRuntime, WorkerComponent, worker_options
from stigma_orchestrator.agents.call_header import CallHeaders
from stigma_orchestrator.agents.list_workflow import ListMcpToolsWorkflow
from stigma_orchestrator.agents.price_workflow import CheckModelPriceWorkflow
from stigma_orchestrator.agents.workflow import AgentWorkflow
from stigma_orchestrator.delivery.caller_look import CallerLooks
from stigma_orchestrator.delivery.deliver_activity import CallbackSender
from stigma_orchestrator.delivery.kept_watches import KeptWatches
from stigma_orchestrator.delivery.metrics import CallbackMetrics, export_kept_watches
from stigma_orchestrator.delivery.watch_caller_activity import CallerWatcher
from stigma_orchestrator.executions.metrics import ExecutionMetrics
from stigma_orchestrator.sessions.watch_turn_activity import TurnWatcher
from stigma_orchestrator.sessions.workflow import SessionWorkflow
from stigma_orchestrator.settings import OrchestratorSettings
from stigma_orchestrator.workflows.workflow import WorkflowExecutionWorkflow


async def build(runtime: ServiceRuntime, settings: OrchestratorSettings) -> Sequence[Component]:
    """Connect and build the parts; they start in order and stop at once."""
    client = await runtime.connect_temporal(data_converter=DATA_CONVERTER)
    sender = CallbackSender(client, CallbackMetrics(runtime.metrics))
    executions = new_execution_worker(client, sender, settings, [ExecutionMetrics(runtime.metrics)])
    kept, watch = new_watch_worker(client, CallerLooks(client), settings)
    export_kept_watches(runtime.metrics, kept)
    return [
        WorkerComponent("agents", executions, runtime.readiness),
        kept,
        WorkerComponent("caller-watch", watch, runtime.readiness),
    ]


def new_execution_worker(
    client: Client,
    sender: CallbackSender,
    settings: OrchestratorSettings,
    interceptors: Sequence[Interceptor] = (),
) -> Worker:
    """Return a worker that runs executions of both kinds and delivers their outcomes."""
    return Worker(
        client,
        task_queue=TaskQueues(settings.task_queue_prefix).orchestrator,
        workflows=[
            AgentWorkflow,
            WorkflowExecutionWorkflow,
            ListMcpToolsWorkflow,
            CheckModelPriceWorkflow,
            SessionWorkflow,
        ],
        activities=[sender.deliver_callback, sender.deliver_workflow_callback],
        interceptors=[*interceptors, CallHeaders()],
        max_cached_workflows=settings.max_cached_workflows,
        max_concurrent_workflow_tasks=settings.max_concurrent_workflow_tasks,
        max_concurrent_activities=settings.max_concurrent_deliveries,
        max_concurrent_local_activities=settings.max_concurrent_deliveries,
        **worker_options(settings),
    )


def new_watch_worker(
    client: Client, looks: CallerLooks, settings: OrchestratorSettings
) -> tuple[KeptWatches, Worker]:
    """Return a worker that watches callers and turns, and what keeps its watches over callers.

    Its slots are its own: deliveries never wait.
    """
    checks = settings.max_concurrent_caller_checks
    kept = KeptWatches(client, looks, most=settings.max_kept_watches, at_a_time=checks)
    worker = Worker(
        client,
        task_queue=TaskQueues(settings.task_queue_prefix).watch,
        activities=[CallerWatcher(looks, kept).watch_caller, TurnWatcher(client).watch_turn],
        max_concurrent_activities=checks,
        **worker_options(settings),
    )
    return kept, worker
