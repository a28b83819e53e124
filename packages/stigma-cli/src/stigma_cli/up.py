"""`stigma up`: everything on this machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from temporalio.client import Client
from temporalio.service import RPCError

from stigma_cli.errors import CliError, Exit
from stigma_cli.options import path_of
from stigma_cli.output import (
    Format,
    Output,
    counted,
    print_json_line,
    print_line,
    print_note,
    print_table,
)
from stigma_cli.service_process import HOST, ServiceProcess
from stigma_cli.setup import set_up
from stigma_cli.stack import Ports, Stack
from stigma_cli.supervision import Supervisor
from stigma_cli.temporal_connections import connect_temporal

_COUNT_SECONDS = 2.0
_LOSES = (
    "executions and sessions end with `stigma up`, agents and workflows stay: `--keep` keeps all"
)


def up(
    *,
    directory: Annotated[
        Path,
        typer.Option(
            "--dir", metavar="DIR", parser=path_of, help="Where logs and the registry go."
        ),
    ] = Path(".stigma"),
    free_ports: Annotated[
        bool, typer.Option("--free-ports", help="Take free ports instead of the usual ones.")
    ] = False,
    temporal_port: Annotated[
        int, typer.Option(metavar="PORT", min=1, max=65535, help="Port of the dev server.")
    ] = Ports.temporal,
    api_port: Annotated[
        int, typer.Option(metavar="PORT", min=1, max=65535, help="Port of Stigma's API.")
    ] = Ports.api,
    console_port: Annotated[
        int, typer.Option(metavar="PORT", min=1, max=65535, help="Port of the console.")
    ] = Ports.console,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep Temporal's data in the directory.")
    ] = False,
    chaos: Annotated[
        bool, typer.Option("--chaos", help="Kill one of the services at random, now and then.")
    ] = False,
    chaos_interval: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="How often --chaos kills one.")
    ] = 5,
    output: Output = Format.TEXT,
) -> None:
    """Start Temporal and the four services, and stop them on Ctrl-C.

    A service that ends by itself is started again. With TEMPORAL_ADDRESS set, that server is used
    (and set up) instead of a dev server. Exits 1 when a service does not start any more, or the dev
    server ends.
    """
    stack = Stack(
        directory,
        Ports.free()
        if free_ports
        else Ports(temporal=temporal_port, api=api_port, console=console_port),
        temporal=_running_temporal(),
        keep=keep,
    )
    pause = timedelta(seconds=chaos_interval) if chaos else None
    asyncio.run(until_stopped(_serve(stack, output, pause)))


@asynccontextmanager
async def started(stack: Stack, *, setup: bool = False) -> AsyncIterator[None]:
    """Run a stack as long as the body runs; with `setup`, prepare a server that is not ours.

    Raises:
        CliError: something did not start.
    """
    stack.claim()
    try:
        if setup:
            await _set_up()
        await stack.start(print_note)
        yield
    finally:
        if stack.begun:
            print_note("stopping …")
        await stack.stop()


async def until_stopped(work: Coroutine[Any, Any, None]) -> bool:
    """Do some work, but cancel it on a signal to end; returns whether it ended by itself."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup ignores SIGHUP: the terminal's end is not ours then.
        if signal.getsignal(number) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        working.cancel()
    try:
        await working
    except asyncio.CancelledError:
        return False
    return True


async def _set_up() -> None:
    try:
        done = await set_up(await connect_temporal())
    except CliError as error:
        hint = "unset TEMPORAL_ADDRESS to start a dev server"
        unreachable = error.code is Exit.UNREACHABLE
        raise CliError(
            error.message, hint if unreachable else error.hint, code=error.code
        ) from None
    if done.advice:
        print_note(f"namespace {done.namespace}: {done.advice}")


async def _serve(stack: Stack, output: Format, chaos: timedelta | None) -> None:
    async with started(stack, setup=stack.ui_url is None):
        _print_ready(stack, output)
        if stack.loses_data:
            print_note(_LOSES)
        supervisor = Supervisor(stack.services, print_note)
        try:
            if chaos is not None:
                await stack.while_up(supervisor.kill_at_random(chaos), supervisor)
            raise await stack.wait_failed(supervisor)
        finally:
            if stack.loses_data:
                await print_lost(stack)


async def print_lost(stack: Stack) -> None:
    """Say how many workflows end with the dev server, as long as that answers."""
    with suppress(RPCError, RuntimeError, TimeoutError):
        async with asyncio.timeout(_COUNT_SECONDS):
            client = await Client.connect(stack.temporal_address, namespace=stack.namespace)
            count = (await client.count_workflows()).count
        if count:
            lost = counted(count, "workflow")
            print_note(f"{lost} in Temporal not kept: `stigma up --keep` keeps them")


def _print_ready(stack: Stack, output: Format) -> None:
    if output is Format.JSON:
        print_json_line(
            {
                "ready": True,
                "api": stack.api_address,
                "console": stack.console_url,
                "temporal": stack.temporal_address,
                "temporalUi": stack.ui_url,
                "services": {
                    each.name: {"admin": f"{HOST}:{each.admin_port}", "pid": each.pid}
                    for each in stack.services
                },
                "logs": str(stack.directory.absolute()),
            }
        )
        return
    rows = [
        ("temporal", stack.temporal_address, ""),
        *(_row(stack, each) for each in stack.services),
    ]
    print_table(("READY", "ADDRESS", "HEALTH"), rows)
    print_line(f"\nLogs: {stack.directory}/*.log")
    print_line(f"Console: {stack.console_url}")
    if stack.ui_url:
        print_line(f"Temporal's UI: {stack.ui_url}")
    print_line("From another terminal:")
    for name, value in stack.variables.items():
        print_line(f"  export {name}={shlex.quote(value)}")
    print_line("Ctrl-C stops everything.")


def _row(stack: Stack, service: ServiceProcess) -> tuple[str, str, str]:
    address = stack.api_address if service.name == "stigma_api" else ""
    return service.name, address, f"http://{HOST}:{service.admin_port}/readyz"


def _running_temporal() -> tuple[str, str] | None:
    address = os.environ.get("TEMPORAL_ADDRESS")
    return (address, os.environ.get("TEMPORAL_NAMESPACE") or "default") if address else None
