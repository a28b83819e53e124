"""Puts the service together: from settings to a gRPC server."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import grpc.aio
from temporalio.client import Client

from stigma.agent.v1 import agent_execution_service_pb2, agent_service_pb2
from stigma.agent.v1.agent_execution_service_pb2_grpc import (
    add_AgentExecutionServiceServicer_to_server,
)
from stigma.agent.v1.agent_pb2 import Agent
from stigma.agent.v1.agent_service_pb2_grpc import add_AgentServiceServicer_to_server
from stigma.contracts.executions import Kind
from stigma.contracts.payloads import DATA_CONVERTER
from stigma.contracts.task_queues import TaskQueues
from stigma.diagnosis.v1 import diagnosis_service_pb2
from stigma.diagnosis.v1.diagnosis_service_pb2_grpc import add_DiagnosisServiceServicer_to_server
from stigma.runtime import Component, GrpcServerComponent, RpcMetrics, ServerTls, ServiceRuntime
from stigma.workflow.v1 import workflow_execution_service_pb2, workflow_service_pb2
from stigma.workflow.v1.workflow_execution_service_pb2_grpc import (
    add_WorkflowExecutionServiceServicer_to_server,
)
from stigma.workflow.v1.workflow_pb2 import Workflow
from stigma.workflow.v1.workflow_service_pb2_grpc import add_WorkflowServiceServicer_to_server
from stigma_api import validation
from stigma_api.admission import Admission
from stigma_api.agent_executions import AgentExecutions
from stigma_api.agent_narration import AgentNarrator
from stigma_api.agents import Agents
from stigma_api.authentication import Authenticator
from stigma_api.callbacks import Callbacks
from stigma_api.calls import CallInterceptor
from stigma_api.capacity import Capacity
from stigma_api.cluster_gauges import ClusterGauges
from stigma_api.database import Database
from stigma_api.definitions import Definitions
from stigma_api.diagnosis import Diagnosis
from stigma_api.documents import Documents
from stigma_api.executions import Executions
from stigma_api.kinds import AGENTS, WORKFLOWS, D, E, ExecutionKind
from stigma_api.launch import Launcher
from stigma_api.listing import Listing
from stigma_api.namespace import Namespace
from stigma_api.narration import Narrator, T
from stigma_api.principals import Principals
from stigma_api.probe import Probe
from stigma_api.reading import Reader
from stigma_api.registry import Registry
from stigma_api.settings import ApiSettings
from stigma_api.stuck import StuckExecutions
from stigma_api.timeline import Timelines
from stigma_api.watching import Watching
from stigma_api.workflow_executions import WorkflowExecutions
from stigma_api.workflow_narration import WorkflowNarrator
from stigma_api.workflows import Workflows

SERVICES = (
    agent_service_pb2.DESCRIPTOR.services_by_name["AgentService"].full_name,
    agent_execution_service_pb2.DESCRIPTOR.services_by_name["AgentExecutionService"].full_name,
    workflow_service_pb2.DESCRIPTOR.services_by_name["WorkflowService"].full_name,
    workflow_execution_service_pb2.DESCRIPTOR.services_by_name[
        "WorkflowExecutionService"
    ].full_name,
    diagnosis_service_pb2.DESCRIPTOR.services_by_name["DiagnosisService"].full_name,
)


async def build(
    runtime: ServiceRuntime, *, settings: ApiSettings, principals: Principals | None
) -> Sequence[Component]:
    """Return the gRPC server; it serves once Temporal, registry and namespace are usable."""
    runtime.readiness.set("registry", False, "not opened")
    runtime.readiness.set("namespace", False, "not checked")
    database = await Database.open(settings.registry_url.get_secret_value())
    runtime.resources.push_async_callback(database.close)
    runtime.add_check("registry", database.check)
    client = await runtime.connect_temporal(data_converter=DATA_CONVERTER)
    namespace = Namespace(client)
    runtime.add_check("namespace", namespace.check)

    queues = TaskQueues(settings.task_queue_prefix)
    _watch_cluster(runtime, client, queues, settings)
    queue = queues.orchestrator
    callbacks = Callbacks(
        namespace, client.namespace, runtime.metrics, enabled=settings.callbacks_enabled
    )
    agents = Registry(database, Kind.AGENT, Agent)
    workflows = Registry(database, Kind.WORKFLOW, Workflow)
    documents = Documents(client, queues.engine)
    agent_executions = _executions(
        client, AGENTS, agents, AgentNarrator, callbacks=callbacks, task_queue=queue
    )
    workflow_executions = _executions(
        client, WORKFLOWS, workflows, WorkflowNarrator, callbacks=callbacks, task_queue=queue
    )

    def register(server: grpc.aio.Server) -> None:
        add_AgentServiceServicer_to_server(Agents(Definitions(agents, validation.agent)), server)
        add_AgentExecutionServiceServicer_to_server(AgentExecutions(agent_executions), server)
        add_WorkflowServiceServicer_to_server(
            Workflows(Definitions(workflows, validation.workflow, documents.check)), server
        )
        add_WorkflowExecutionServiceServicer_to_server(
            WorkflowExecutions(workflow_executions), server
        )
        diagnosis = Diagnosis(Timelines(client), StuckExecutions(client, queues))
        add_DiagnosisServiceServicer_to_server(diagnosis, server)

    interceptor = CallInterceptor(
        Authenticator(principals),
        calls=Capacity(settings.api_max_in_flight, "calls"),
        watches=Capacity(settings.api_max_watches, "streams"),
        call_timeout=settings.api_call_timeout,
        watch_timeout=settings.api_watch_timeout,
    )
    server = GrpcServerComponent(
        runtime.readiness,
        host=settings.api_host,
        port=settings.api_port,
        services=SERVICES,
        register=register,
        tls=_tls(settings),
        interceptors=[
            *runtime.telemetry.server_interceptors(),
            RpcMetrics(runtime.metrics),
            interceptor,
        ],
    )
    return [server]


def _watch_cluster(
    runtime: ServiceRuntime, client: Client, queues: TaskQueues, settings: ApiSettings
) -> None:
    """Show the gauges of the whole installation, where they are wanted."""
    if settings.cluster_metrics_interval:
        gauges = ClusterGauges(
            client,
            queues,
            runtime.metrics,
            interval=settings.cluster_metrics_interval,
            stuck_after=settings.stuck_after,
        )
        runtime.spawn(gauges.keep_fresh())


def _executions(
    client: Client,
    kind: ExecutionKind[E],
    registry: Registry[D],
    narrator: Callable[[Client], Narrator[T]],
    *,
    callbacks: Callbacks,
    task_queue: str,
) -> Executions[D, E, T]:
    reader = Reader(client, kind)
    return Executions(
        client,
        kind,
        admission=Admission(kind, registry, callbacks, client.namespace),
        callbacks=callbacks,
        probe=Probe(client),
        launcher=Launcher(client, kind, reader, task_queue),
        reader=reader,
        listing=Listing(client, kind, task_queue),
        watching=Watching(client, kind, reader, narrator),
    )


def load_principals(settings: ApiSettings) -> Principals | None:
    """Return who may call; None for everybody, which settings allow on loopback only.

    Raises:
        PrincipalsError: the principals file cannot be used.
    """
    if settings.principals_file is not None:
        return Principals.load(settings.principals_file)
    if settings.api_tls_client_ca is not None:
        return Principals((), any_certificate=True)
    return None


def _tls(settings: ApiSettings) -> ServerTls | None:
    if settings.api_tls_cert is None or settings.api_tls_key is None:
        return None
    return ServerTls(settings.api_tls_cert, settings.api_tls_key, settings.api_tls_client_ca)
