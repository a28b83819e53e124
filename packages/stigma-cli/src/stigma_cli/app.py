"""The `stigma` command: its commands, and how their errors end."""

from __future__ import annotations

import asyncio
import signal
import threading
from importlib.metadata import version
from typing import Annotated, Any

import typer
from temporalio.runtime import Runtime, TelemetryConfig
from typer.core import TyperGroup

from stigma_cli import (
    agent_registry,
    chat,
    demo,
    doctor,
    executions,
    init,
    inputs,
    run_document,
    sessions,
    setup,
    up,
    workflow_registry,
)
from stigma_cli.errors import CliError
from stigma_cli.output import print_error


class _Commands(TyperGroup):
    """Ends a failed command with one line and a hint instead of a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        _interrupt_by_exception()
        try:
            return super().invoke(ctx)
        except CliError as error:
            print_error((error.message, *error.more), error.hint)
            raise typer.Exit(error.code) from None
        except (KeyboardInterrupt, asyncio.CancelledError):
            raise typer.Exit(130) from None


def silence_temporal_core() -> None:
    """Turn the logs of the Temporal SDK's core off: it writes them to stdout, into our output."""
    Runtime.set_default(
        Runtime(telemetry=TelemetryConfig(logging=None)), error_if_already_set=False
    )


def _interrupt_by_exception() -> None:
    """Let a Ctrl-C raise KeyboardInterrupt from here on, where it ended the process before."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(up.up)
app.command()(demo.demo)
app.command()(init.init)
app.command()(run_document.run)
app.command()(run_document.validate)
app.command()(chat.chat)
app.add_typer(agent_registry.app, name="agent")
app.add_typer(workflow_registry.app, name="workflow")
app.add_typer(executions.app, name="execution")
app.add_typer(inputs.app, name="inputs")
app.add_typer(sessions.app, name="session")
app.command()(setup.setup)
app.command()(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"stigma {version('stigma-cli')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Durable AI agents for Temporal.

    Connections come from the environment: STIGMA_API_ADDRESS, STIGMA_API_KEY and STIGMA_API_TLS_*
    for Stigma's API, and Temporal's own variables and profiles (TEMPORAL_ADDRESS, …) for Temporal.

    Exit codes: 0 done; 1 what was asked for failed; 2 bad usage or input; 3 a server could not be
    reached, or something did not end in time; 4 not found; 5 no permission; 130 interrupted.
    """
