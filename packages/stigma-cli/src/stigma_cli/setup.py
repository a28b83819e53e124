"""`stigma setup`: prepares a Temporal namespace. Does nothing the second time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

import typer
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client

from stigma.contracts import limits
from stigma.contracts.search_attributes import INDEXED_VALUE_TYPES
from stigma_cli.connections import connect_temporal, reaching_temporal, temporal_address
from stigma_cli.durations import parse_duration
from stigma_cli.exits import CliError, Exit
from stigma_cli.output import Format, Output, print_json, print_line
from stigma_cli.retention import keep_for

RETENTION = timedelta(hours=72)

# Below this, the outcome of a call with the default timeout may be gone before it is asked for.
LEAST_RETENTION = limits.DEFAULT_TIMEOUT + timedelta(hours=1)


def setup(
    retention: Annotated[
        str,
        typer.Option(
            metavar="DURATION", help="Keep closed executions at least so long, for instance 72h."
        ),
    ] = "72h",
    output: Output = Format.TEXT,
) -> None:
    """Prepare a Temporal namespace for Stigma.

    Registers search attributes, and raises the retention where it is lower. Does nothing the second
    time.
    """
    try:
        least = parse_duration(retention)
    except ValueError as error:
        raise CliError(str(error), code=Exit.USAGE) from None
    if least < LEAST_RETENTION:
        raise CliError(f"the retention must be at least {LEAST_RETENTION}", code=Exit.USAGE)
    done = asyncio.run(_setup(least))
    if output is Format.JSON:
        print_json({"namespace": done.namespace, "changed": done.changes})
        return
    for change in done.changes or ["nothing to do"]:
        print_line(f"{done.namespace}: {change}")


@dataclass(frozen=True)
class Changes:
    """What was changed in a namespace, a line each."""

    namespace: str
    changes: list[str]


async def set_up(client: Client, retention: timedelta) -> Changes:
    """Register what is missing, and raise the retention where it is lower.

    Raises:
        CliError: Temporal cannot be reached, refuses, or has an attribute of another type.
    """
    address = temporal_address()
    changes = await reaching_temporal(_register(client), address)
    kept = await reaching_temporal(retention_of(client), address)
    if kept < retention:
        await reaching_temporal(keep_for(client, retention), address)
        changes.append(f"retention raised from {kept} to {retention}")
    return Changes(client.namespace, changes)


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


async def retention_of(client: Client) -> timedelta:
    """Return how long the namespace keeps closed executions."""
    request = DescribeNamespaceRequest(namespace=client.namespace)
    described = await client.workflow_service.describe_namespace(request)
    return described.config.workflow_execution_retention_ttl.ToTimedelta()


async def _setup(retention: timedelta) -> Changes:
    return await set_up(await connect_temporal(), retention)


async def _register(client: Client) -> list[str]:
    missing = await missing_attributes(client)
    if not missing:
        return []
    await client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(
            namespace=client.namespace,
            search_attributes={name: INDEXED_VALUE_TYPES[name] for name in missing},
        )
    )
    return [f"search attribute {name} registered" for name in missing]
