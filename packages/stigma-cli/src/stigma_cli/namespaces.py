"""Temporal namespaces: their retention, and the search attributes that Stigma needs in them."""

from __future__ import annotations

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, UpdateNamespaceRequest
from temporalio.client import Client

from stigma.contracts.search_attributes import INDEXED_VALUE_TYPES
from stigma_cli.errors import CliError


async def retention_of(client: Client) -> timedelta:
    """Return how long the client's namespace keeps closed executions."""
    request = DescribeNamespaceRequest(namespace=client.namespace)
    described = await client.workflow_service.describe_namespace(request)
    return described.config.workflow_execution_retention_ttl.ToTimedelta()


async def set_retention(client: Client, retention: timedelta) -> None:
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


async def missing_attributes(client: Client) -> list[str]:
    """Return the search attributes that are not registered.

    Raises:
        CliError: one is registered with another type.
    """
    request = ListSearchAttributesRequest(namespace=client.namespace)
    known = (await client.operator_service.list_search_attributes(request)).custom_attributes
    for name, kind in INDEXED_VALUE_TYPES.items():
        if name in known and known[name] != kind:
            raise CliError(
                f"search attribute {name} of namespace {client.namespace} has another type",
                "remove it with `temporal operator search-attribute remove`, then `stigma setup`",
            )
    return [name for name in INDEXED_VALUE_TYPES if name not in known]


async def add_attributes(client: Client, names: list[str]) -> None:
    """Register search attributes of Stigma's."""
    await client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(
            namespace=client.namespace,
            search_attributes={name: INDEXED_VALUE_TYPES[name] for name in names},
        )
    )
