"""`stigma setup`: prepares a Temporal namespace. Does nothing the second time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

import typer
from temporalio.client import Client

from stigma.contracts import limits
from stigma_cli.errors import CliError, Exit
from stigma_cli.namespaces import (
    add_attributes,
    missing_attributes,
    retention_of,
    set_retention,
)
from stigma_cli.options import duration_of
from stigma_cli.output import Format, Output, as_duration, print_json, print_line
from stigma_cli.temporal_connections import connect_temporal, temporal_address, temporal_call

RETENTION = timedelta(hours=72)

# Retention below which the outcome of a call with the default timeout may be gone when it is read.
LEAST_RETENTION = limits.DEFAULT_TIMEOUT + timedelta(hours=1)


def setup(
    retention: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Raise the retention to this where it is lower, for instance 72h.",
        ),
    ] = None,
    raise_retention: Annotated[
        bool, typer.Option("--raise-retention", help="The same as --retention 72h.")
    ] = False,
    output: Output = Format.TEXT,
) -> None:
    """Prepare a Temporal namespace for Stigma.

    Registers search attributes. Checks how long closed executions are kept, and raises that only
    when told: it costs storage, for everything in the namespace. Does nothing the second time.
    """
    least = RETENTION if raise_retention else None
    if retention is not None:
        least = duration_of("--retention", retention)
    if least is not None and least < LEAST_RETENTION:
        raise CliError(
            f"the retention must be at least {as_duration(LEAST_RETENTION)}", code=Exit.USAGE
        )
    done = asyncio.run(_setup(least))
    if output is Format.JSON:
        print_json(
            {"namespace": done.namespace, "changed": done.changes, "advice": done.advice or None}
        )
        return
    for change in done.changes or ([] if done.advice else ["nothing to do"]):
        print_line(f"{done.namespace}: {change}")
    if done.advice:
        print_line(f"{done.namespace}: {done.advice}")


@dataclass(frozen=True)
class Changes:
    """Changes of a namespace, a line each, and what is left to do, if anything."""

    namespace: str
    changes: list[str]
    advice: str = ""


async def set_up(client: Client, retention: timedelta | None = None) -> Changes:
    """Register what is missing; raise the retention to `retention` where it is lower.

    Raises:
        CliError: Temporal cannot be reached, refuses, or has an attribute of another type.
    """
    address = temporal_address()
    changes = await temporal_call(_register(client), address)
    kept = await temporal_call(retention_of(client), address)
    if retention is None:
        return Changes(client.namespace, changes, _advice(kept))
    if kept < retention:
        await temporal_call(set_retention(client, retention), address)
        changes.append(f"retention raised from {as_duration(kept)} to {as_duration(retention)}")
    return Changes(client.namespace, changes)


def _advice(kept: timedelta) -> str:
    if kept >= LEAST_RETENTION:
        return ""
    return (
        f"closed executions are kept {as_duration(kept)}, calls wait up to "
        f"{as_duration(limits.DEFAULT_TIMEOUT)} by default: `stigma setup --raise-retention`"
    )


async def _setup(retention: timedelta | None) -> Changes:
    return await set_up(await connect_temporal(), retention)


async def _register(client: Client) -> list[str]:
    missing = await missing_attributes(client)
    if missing:
        await add_attributes(client, missing)
    return [f"search attribute {name} registered" for name in missing]
