"""The worker of the AI queue and its parts."""

from __future__ import annotations

from collections.abc import Sequence

from temporalio.client import Client
from temporalio.worker import Worker

from ai_worker.calls.heartbeats import DETAILED_HEARTBEAT_INTERVAL
from ai_worker.conversations.activity import ConversationCalls
from ai_worker.conversations.histories import Conversations
from ai_worker.conversations.summary_activity import Summaries
from ai_worker.mcp.absent import NoMcpServers
from ai_worker.mcp.metrics import McpMetrics
from ai_worker.mcp_resources import McpServerResource
from ai_worker.models.activity import ModelCalls
from ai_worker.models.caller import ModelCaller
from ai_worker.models.catalog import build_catalog
from ai_worker.models.metrics import ModelCallMetrics
from ai_worker.models.output_activity import OutputChecks
from ai_worker.models.price_activity import ModelPrices
from ai_worker.resources import ProviderResource
from ai_worker.settings import Settings
from stigma.contracts.activities import McpActivities
from stigma.contracts.payloads import DATA_CONVERTER
from stigma.contracts.task_queues import TaskQueues
from stigma.runtime import Component, ServiceRuntime, WorkerComponent, logging, worker_options
from stigma.runtime.named_files import check_trusted_authorities


def new_worker(
    client: Client,
    caller: ModelCaller,
    settings: Settings,
    mcp_calls: McpActivities | None = None,
) -> Worker:
    """Return a worker that serves calls of models and of MCP servers' tools on the AI queue."""
    mcp_calls = mcp_calls or NoMcpServers()
    conversations = Conversations(client, settings.max_cached_conversation_bytes)
    return Worker(
        client,
        task_queue=TaskQueues(settings.task_queue_prefix).ai,
        activities=[
            ModelCalls(caller).call_model,
            ConversationCalls(caller, conversations).converse,
            Summaries(caller, conversations).summarize,
            ModelPrices(caller).check_model_price,
            OutputChecks().check_output,
            mcp_calls.list_mcp_tools,
            mcp_calls.call_mcp_tool,
            mcp_calls.resume_mcp_tool,
            mcp_calls.poll_mcp_task,
            mcp_calls.cancel_mcp_task,
        ],
        max_concurrent_activities=settings.max_concurrent_activities,
        **worker_options(settings, DETAILED_HEARTBEAT_INTERVAL),
    )


async def build(
    runtime: ServiceRuntime,
    settings: Settings,
    resources: Sequence[ProviderResource],
    mcp_servers: Sequence[McpServerResource] = (),
) -> Sequence[Component]:
    """Connect and put the parts together."""
    check_trusted_authorities()
    # Keys come from the providers' files, not from the settings: the log must know them too.
    keys = [resource.api_key.get_secret_value() for resource in resources if resource.api_key]
    keys += [key.get_secret_value() for server in mcp_servers for key in server.keys]
    logging.configure(runtime.name, settings, conceal=keys)
    catalog = build_catalog(resources, settings.max_concurrent_activities)
    runtime.resources.push_async_callback(catalog.close)
    caller = ModelCaller(catalog, ModelCallMetrics(runtime.metrics))
    client = await runtime.connect_temporal(data_converter=DATA_CONVERTER)
    mcp_metrics = McpMetrics(runtime.metrics)
    mcp_calls = _mcp_calls(runtime, mcp_servers, mcp_metrics) if mcp_servers else None
    worker = new_worker(client, caller, settings, mcp_calls)
    return [WorkerComponent("model-calls", worker, runtime.readiness)]


def _mcp_calls(
    runtime: ServiceRuntime, resources: Sequence[McpServerResource], metrics: McpMetrics
) -> McpActivities:
    # Its client takes a second to import.
    from ai_worker.mcp.activity import McpCalls  # noqa: PLC0415
    from ai_worker.mcp.servers import Servers  # noqa: PLC0415

    servers = Servers(resources, metrics)
    runtime.resources.push_async_callback(servers.close)
    return McpCalls(servers, metrics)
