"""Assembles the service: from settings to a gRPC server and the console."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from temporalio.client import Client

from stigma.agent.v1.agent_pb2 import Agent
from stigma.contracts.executions import Kind
from stigma.contracts.payloads import DATA_CONVERTER
from stigma.contracts.task_queues import TaskQueues
from stigma.internal.v1.execution_pb2 import Lineage
from stigma.runtime import Component, GrpcServerComponent, RpcMetrics, ServerTls, ServiceRuntime
from stigma.workflow.v1.workflow_pb2 import Workflow
from stigma_api.access.audit import AuditLog
from stigma_api.access.authentication import Authenticator
from stigma_api.access.concurrency import ConcurrencyLimit
from stigma_api.access.principals import Principals
from stigma_api.access.principals_file import PrincipalsFile
from stigma_api.access.streams import OpenStreams
from stigma_api.definitions.database import Database
from stigma_api.definitions.document_check import DocumentChecker
from stigma_api.definitions.mcp_listing import McpListing
from stigma_api.definitions.nexus_endpoints import NexusEndpoints
from stigma_api.definitions.registry import Registry
from stigma_api.definitions.rule_check import RuleChecker
from stigma_api.definitions.service import DefinitionService
from stigma_api.definitions.sub_agent_access import SubAgentAccess
from stigma_api.definitions.tool_access import ToolAccess, ToolPlaces
from stigma_api.diagnosis.cluster_gauges import ClusterGauges
from stigma_api.diagnosis.pending.steps import PendingSteps
from stigma_api.diagnosis.service import DiagnosisService
from stigma_api.diagnosis.stuck.executions import StuckExecutions
from stigma_api.diagnosis.timeline.timelines import Timelines
from stigma_api.executions.admission import Admission
from stigma_api.executions.callback_tokens import CallbackTokenPolicy
from stigma_api.executions.document_events import DocumentEventMapper
from stigma_api.executions.followed_workflow import EventMapper
from stigma_api.executions.inputs import ExecutionInputs
from stigma_api.executions.launcher import Launcher
from stigma_api.executions.listing import Listing
from stigma_api.executions.lookup import ExecutionLookup
from stigma_api.executions.model_prices import ModelPrices
from stigma_api.executions.reader import Reader
from stigma_api.executions.service import ExecutionService
from stigma_api.executions.session_turns import SessionTurns
from stigma_api.executions.sessions import Sessions
from stigma_api.executions.start import ExecutionStarter
from stigma_api.executions.start_resolver import StartResolver
from stigma_api.executions.token_probe import TokenProbe
from stigma_api.executions.watch import Watching
from stigma_api.executions.watch_events import (
    AgentEventMapper,
    T,
    WatchEventMapper,
    WorkflowEventMapper,
)
from stigma_api.grpc_api import servicers
from stigma_api.grpc_api.audit import AuditInterceptor
from stigma_api.grpc_api.interceptor import ApiInterceptor
from stigma_api.kinds import AGENTS, KINDS, WORKFLOWS, D, E, ExecutionKind
from stigma_api.requests import validation
from stigma_api.services import Services
from stigma_api.settings import ApiSettings
from stigma_api.temporal.clock import TemporalClock
from stigma_api.temporal.namespace import Namespace


async def build(
    runtime: ServiceRuntime, *, settings: ApiSettings, principals: Principals | None
) -> Sequence[Component]:
    """Return the gRPC server, and the console's if it is enabled.

    They serve once Temporal, registry and namespace are usable.
    """
    if principals is not None and settings.principals_file is not None:
        file = PrincipalsFile(settings.principals_file, principals, runtime.metrics)
        runtime.spawn(file.follow())
    runtime.readiness.set("registry", False, "not opened")
    runtime.readiness.set("namespace", False, "not checked")
    database = await Database.open(settings.registry_url.get_secret_value())
    runtime.resources.push_async_callback(database.close)
    runtime.add_check("registry", database.check)
    client = await runtime.connect_temporal(data_converter=DATA_CONVERTER)
    namespace = Namespace(client)
    runtime.add_check("namespace", namespace.check)

    queues = TaskQueues(settings.task_queue_prefix)
    clock = TemporalClock(client, runtime.metrics)
    runtime.spawn(clock.keep_right())
    _watch_cluster(runtime, client, queues, settings, clock)
    tokens = CallbackTokenPolicy(
        namespace, client.namespace, runtime.metrics, enabled=settings.callbacks_enabled
    )
    places = ToolPlaces(settings.tool_task_queues, settings.tool_nexus_endpoints, queues)
    tree = Lineage(depth_left=settings.sub_agent_depth, sub_agents=settings.sub_agent_count)
    services = _services(
        client,
        database,
        queues,
        places=places,
        tree=tree,
        tokens=tokens,
        clock=clock,
        session_idle_timeout=settings.session_idle_timeout,
    )
    server = _grpc_server(runtime, services, settings, principals)
    if not settings.console_enabled:
        return [server]
    # What it needs is loaded only where there is one.
    from stigma_api.console.assembly import console  # noqa: PLC0415

    pages = console(
        services,
        runtime.readiness,
        settings=settings,
        principals=principals,
        namespace=client.namespace,
    )
    return [server, pages]


def _services(
    client: Client,
    database: Database,
    queues: TaskQueues,
    *,
    places: ToolPlaces,
    tree: Lineage,
    tokens: CallbackTokenPolicy,
    clock: TemporalClock,
    session_idle_timeout: timedelta,
) -> Services:
    agents = Registry(database, Kind.AGENT, Agent)
    workflows = Registry(database, Kind.WORKFLOW, Workflow)
    documents = DocumentChecker(client, queues.engine)
    mcp_listing = McpListing(client, queues.orchestrator)
    tools = ToolAccess(
        places, workflows, NexusEndpoints(client), mcp_listing, RuleChecker(documents)
    )
    sub_agents = SubAgentAccess(agents, tools, tree)
    queue = queues.orchestrator
    shared: dict[str, Any] = {
        "tools": tools,
        "sub_agents": sub_agents,
        "prices": ModelPrices(client, queue),
        "tokens": tokens,
        "task_queue": queue,
        "clock": clock,
        "pending_steps": PendingSteps(client, clock),
    }
    listing = Listing(client, AGENTS, queue)
    inputs = ExecutionInputs(client, Reader(client, AGENTS), listing)
    agent_executions = _executions(
        client,
        AGENTS,
        agents,
        AgentEventMapper,
        stop_after_step=inputs.stop_after_step,
        turns=SessionTurns(client, queue, session_idle_timeout),
        **shared,
    )
    workflow_executions = _executions(
        client,
        WORKFLOWS,
        workflows,
        WorkflowEventMapper,
        document_mapper=DocumentEventMapper,
        **shared,
    )
    return Services(
        definitions={
            Kind.AGENT: DefinitionService(agents, validation.check_agent, sub_agents.check_applied),
            Kind.WORKFLOW: DefinitionService(workflows, validation.check_workflow, documents.check),
        },
        executions={Kind.AGENT: agent_executions, Kind.WORKFLOW: workflow_executions},
        lookup=_lookup(client, queue),
        inputs=inputs,
        sessions=Sessions(client, listing, queue),
        diagnosis=DiagnosisService(Timelines(client), StuckExecutions(client, queues, clock)),
    )


def _lookup(client: Client, queue: str) -> ExecutionLookup:
    readers: dict[Kind, Reader[Any]] = {each.kind: Reader(client, each) for each in KINDS}
    listings: dict[Kind, Listing[Any]] = {each.kind: Listing(client, each, queue) for each in KINDS}
    return ExecutionLookup(client, readers, listings)


def _executions(
    client: Client,
    kind: ExecutionKind[E],
    registry: Registry[D],
    mapper: Callable[[Client, str, str], WatchEventMapper[T]],
    *,
    tools: ToolAccess,
    sub_agents: SubAgentAccess,
    prices: ModelPrices,
    tokens: CallbackTokenPolicy,
    task_queue: str,
    clock: TemporalClock,
    pending_steps: PendingSteps,
    document_mapper: Callable[[Client], EventMapper[T]] | None = None,
    stop_after_step: Callable[[str, str], Awaitable[None]] | None = None,
    turns: SessionTurns | None = None,
) -> ExecutionService[D, E, T]:
    reader = Reader(client, kind)
    starter: ExecutionStarter[D, E] = ExecutionStarter(
        client,
        kind,
        admission=Admission(tokens, client.namespace),
        tokens=tokens,
        probe=TokenProbe(client),
        resolver=StartResolver(
            client,
            registry,
            tools=tools,
            agents=sub_agents,
            prices=prices,
            tokens=tokens,
            clock=clock,
        ),
        launcher=Launcher(client, kind, reader, task_queue, clock),
        reader=reader,
        turns=turns,
    )
    return ExecutionService(
        client,
        kind,
        starter=starter,
        reader=reader,
        listing=Listing(client, kind, task_queue),
        watching=Watching(client, kind, reader, mapper, document_mapper),
        add_pending_steps=pending_steps.add,
        stop_after_step=stop_after_step,
    )


def _grpc_server(
    runtime: ServiceRuntime,
    services: Services,
    settings: ApiSettings,
    principals: Principals | None,
) -> GrpcServerComponent:
    streams = OpenStreams(settings.api_watch_timeout)
    interceptor = ApiInterceptor(
        Authenticator(principals),
        calls=ConcurrencyLimit(settings.api_max_in_flight, "calls"),
        watches=ConcurrencyLimit(settings.api_max_watches, "streams"),
        call_timeout=settings.api_call_timeout,
        streams=streams,
    )
    return GrpcServerComponent(
        runtime.readiness,
        host=settings.api_host,
        port=settings.api_port,
        services=servicers.NAMES,
        register=partial(servicers.register, services),
        tls=_tls(settings),
        reflection=settings.api_reflection,
        on_stop=streams.end_all,
        interceptors=[
            *runtime.telemetry.server_interceptors(),
            RpcMetrics(runtime.metrics),
            AuditInterceptor(AuditLog()),
            interceptor,
        ],
    )


def _watch_cluster(
    runtime: ServiceRuntime,
    client: Client,
    queues: TaskQueues,
    settings: ApiSettings,
    clock: TemporalClock,
) -> None:
    """Register the gauges of the whole installation, if they are enabled."""
    if settings.cluster_metrics_interval:
        gauges = ClusterGauges(
            client,
            queues,
            runtime.metrics,
            clock,
            interval=settings.cluster_metrics_interval,
            stuck_after=settings.stuck_after,
        )
        runtime.spawn(gauges.keep_fresh())


def load_principals(settings: ApiSettings) -> Principals | None:
    """Return the principals; None without authentication, which is for loopback only.

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
