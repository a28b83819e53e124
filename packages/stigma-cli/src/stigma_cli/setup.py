"""`stigma setup`: prepares a Temporal namespace. Does nothing the second time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

import typer
from temporalio.client import Client

from stigma.contracts import limits
from stigma.contracts.durations import parse_duration
from stigma_cli.connections import connect_temporal, temporal_address, temporal_call
from stigma_cli.errors import CliError, Exit
from stigma_cli.namespaces import (
    add_attributes,
    missing_attributes,
    retention_of,
    set_retention,
)
from stigma_cli.output import Format, Output, as_duration, print_json, print_line

RETENTION = timedelta(hours=72)

# Retention below which the outcome of a call with the default timeout may be gone when it is read.
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
        raise CliError(
            f"the retention must be at least {as_duration(LEAST_RETENTION)}", code=Exit.USAGE
        )
    done = asyncio.run(_setup(least))
    if output is Format.JSON:
        print_json({"namespace": done.namespace, "changed": done.changes})
        return
    for change in done.changes or ["nothing to do"]:
        print_line(f"{done.namespace}: {change}")


@dataclass(frozen=True)
class Changes:
    """Changes of a namespace, a line each."""

    namespace: str
    changes: list[str]


async def set_up(client: Client, retention: timedelta) -> Changes:
    """Register what is missing, and raise the retention where it is lower.

    Raises:
        CliError: Temporal cannot be reached, refuses, or has an attribute of another type.
    """
    address = temporal_address()
    changes = await temporal_call(_register(client), address)
    kept = await temporal_call(retention_of(client), address)
    if kept < retention:
        await temporal_call(set_retention(client, retention), address)
        changes.append(f"retention raised from {as_duration(kept)} to {as_duration(retention)}")
    return Changes(client.namespace, changes)


async def _setup(retention: timedelta) -> Changes:
    return await set_up(await connect_temporal(), retention)


async def _register(client: Client) -> list[str]:
    missing = await missing_attributes(client)
    if missing:
        await add_attributes(client, missing)
    return [f"search attribute {name} registered" for name in missing]
