"""How long Temporal keeps closed executions readable."""

from __future__ import annotations

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.workflowservice.v1 import UpdateNamespaceRequest
from temporalio.client import Client


async def keep_for(client: Client, retention: timedelta) -> None:
    """Set the retention of the client's namespace; the server's own default is 24 h.

    Raises:
        RPCError: Temporal did not answer, or refused.
    """
    ttl = Duration()
    ttl.FromTimedelta(retention)
    await client.workflow_service.update_namespace(
        UpdateNamespaceRequest(
            namespace=client.namespace,
            config=NamespaceConfig(workflow_execution_retention_ttl=ttl),
        )
    )
