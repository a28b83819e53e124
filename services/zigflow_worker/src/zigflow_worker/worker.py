"""The engine's worker."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from temporalio.client import Client
from temporalio.worker import Worker
from typing_extensions import override

from stigma.contracts.payloads import DATA_CONVERTER
from stigma.contracts.task_queues import TaskQueues
from stigma.runtime import Component, ServiceRuntime, WorkerComponent
from stigma.runtime.health import Readiness
from stigma.runtime.named_files import check_trusted_authorities, warn_of_missing_folder
from stigma.runtime.workers import worker_options
from stigma_client import StigmaPlugin
from zigflow_worker.activities.call_evaluation import EvaluatedCall
from zigflow_worker.activities.calls import OutgoingCalls
from zigflow_worker.activities.document_directory import DocumentDirectory
from zigflow_worker.activities.engine import DocumentActivities
from zigflow_worker.activities.grpc_call import GrpcCall
from zigflow_worker.activities.http_call import HttpCall
from zigflow_worker.activities.interfaces import EngineActivities
from zigflow_worker.activities.openapi_call import OpenApiCall
from zigflow_worker.activities.resource_fetch import ResourceFetch
from zigflow_worker.activities.rules import RuleEvaluator
from zigflow_worker.call_metrics import CallMetrics
from zigflow_worker.metrics import AgentCallMetrics
from zigflow_worker.outgoing.authentication import TokenCache, authentication_of
from zigflow_worker.outgoing.client import HttpClient, trusted_roots
from zigflow_worker.outgoing.memory import MemoryBudget
from zigflow_worker.outgoing.messages import Authentication, HttpSender
from zigflow_worker.outgoing.resources import Resources
from zigflow_worker.outgoing.secrets import SecretDirectory
from zigflow_worker.rpc import RpcClient
from zigflow_worker.settings import EngineSettings
from zigflow_worker.workflow import DocumentWorkflow


async def build(runtime: ServiceRuntime, *, settings: EngineSettings) -> Sequence[Component]:
    """Connect, and make the worker."""
    check_trusted_authorities()
    warn_of_missing_folder("STIGMA_WORKFLOWS_DIR", settings.workflows_dir)
    warn_of_missing_folder("STIGMA_SECRETS_DIR", settings.secrets_dir)
    warn_of_missing_folder("STIGMA_RESOURCES_DIR", settings.resources_dir)
    plugin = StigmaPlugin(connection=settings.api_connection())
    calls_client, rpc = http_client(settings), rpc_client(settings)
    client = await runtime.connect_temporal(data_converter=DATA_CONVERTER)
    worker = new_worker(
        client,
        TaskQueues(settings.task_queue_prefix).engine,
        DocumentActivities(DocumentDirectory(settings.workflows_dir)),
        outgoing_calls(settings, calls_client, rpc),
        plugins=[plugin],
        interceptors=[AgentCallMetrics(runtime.metrics), CallMetrics(runtime.metrics)],
        max_cached_workflows=settings.max_cached_workflows,
        max_concurrent_workflow_tasks=settings.max_concurrent_workflow_tasks,
        max_concurrent_activities=settings.max_concurrent_calls,
        **worker_options(settings),
    )
    return [EngineWorker(worker, runtime.readiness, calls_client, rpc)]


def _authenticate(
    tokens: TokenCache, call: EvaluatedCall, sender: HttpSender
) -> Authentication | None:
    """Return the authentication of a call (raises WorkflowError)."""
    if call.authentication is None:
        return None
    return authentication_of(
        call.authentication, secrets=call.authentication_secrets, sender=sender, tokens=tokens
    )


class EngineWorker(WorkerComponent):
    """The worker, which closes the clients of its calls after them."""

    def __init__(
        self, worker: Worker, readiness: Readiness, client: HttpClient, rpc: RpcClient
    ) -> None:
        super().__init__("engine", worker, readiness)
        self._client = client
        self._rpc = rpc

    @override
    async def stop(self, grace: timedelta) -> None:
        await super().stop(grace)
        self._rpc.close()
        await self._client.close()


def http_client(settings: EngineSettings) -> HttpClient:
    """Return the client that all calls share."""
    return HttpClient(settings.outgoing_policy(), settings.http_limits())


def rpc_client(settings: EngineSettings) -> RpcClient:
    """Return the client of gRPC calls."""
    limits = settings.http_limits()
    return RpcClient(
        policy=settings.outgoing_policy(),
        roots=trusted_roots(),
        response_limit=limits.response_bytes,
        connect_seconds=limits.connect_seconds,
        streams=settings.max_concurrent_calls,
    )


def outgoing_calls(settings: EngineSettings, client: HttpClient, rpc: RpcClient) -> OutgoingCalls:
    """Return the activities of calls."""
    authenticate = partial(_authenticate, TokenCache())
    resources = Resources(client, settings.resources_dir)
    return OutgoingCalls(
        SecretDirectory(settings.secrets_dir),
        MemoryBudget(settings.outgoing_max_total_bytes),
        http=HttpCall(client, authenticate),
        openapi=OpenApiCall(client, resources, authenticate),
        grpc=GrpcCall(client, resources, authenticate, rpc),
        resource=ResourceFetch(client, resources, authenticate),
    )


def new_worker(
    client: Client,
    task_queue: str,
    activities: EngineActivities,
    calls: OutgoingCalls,
    **options: Any,
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
            calls.call_http,
            calls.call_openapi,
            calls.call_grpc,
            calls.fetch_resource,
            RuleEvaluator().evaluate_rules,
        ],
        **options,
    )
