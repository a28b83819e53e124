"""`ListMcpToolsWorkflow`: one listing of MCP servers' tools, when an agent is applied."""

from __future__ import annotations

from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from typing_extensions import override

with workflow.unsafe.imports_passed_through():
    from stigma.contracts import limits, tools, workflows
    from stigma.contracts.activities import McpActivities
    from stigma.contracts.task_queues import TaskQueues
    from stigma.internal.v1.execution_pb2 import ListMcpToolsRequest, ListMcpToolsResponse

_MARGIN = timedelta(seconds=5)


@workflow.defn(name="ListMcpToolsWorkflow")
class ListMcpToolsWorkflow(workflows.ListMcpToolsWorkflow):
    """Hands the listing to the AI worker, which holds the connections."""

    @override
    @workflow.run
    async def run(self, request: ListMcpToolsRequest) -> ListMcpToolsResponse:
        return await workflow.execute_activity_method(
            McpActivities.list_mcp_tools,
            request,
            activity_id=tools.LIST_MCP_TOOLS_ID,
            task_queue=TaskQueues.from_orchestrator(workflow.info().task_queue).ai,
            start_to_close_timeout=request.timeout.ToTimedelta() + _MARGIN,
            heartbeat_timeout=limits.MODEL_CALL_HEARTBEAT_TIMEOUT,
            retry_policy=RetryPolicy(maximum_interval=timedelta(seconds=2)),
        )
