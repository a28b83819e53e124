"""The `stigma` command: its commands, and how their errors end."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from stigma_cli.errors import CliError
from stigma_cli.lazy_commands import CommandPlace, LazyCommand
from stigma_cli.output import print_error

COMMANDS = (
    CommandPlace("up", "up:up", "Start Temporal and the four services, and stop them on Ctrl-C."),
    CommandPlace("demo", "demo:demo", "Run the code review example, with all it needs, and stop."),
    CommandPlace("init", "init:init", "Write a project to begin with."),
    CommandPlace("run", "run_document:run", "Run a workflow document and print its output."),
    CommandPlace(
        *("validate", "validate:validate"),
        "Check workflow documents, and files of workflows or of agents.",
    ),
    CommandPlace("chat", "chat:chat", "Talk to an agent at the terminal."),
    CommandPlace("setup", "setup:setup", "Prepare a Temporal namespace for Stigma."),
    CommandPlace("doctor", "doctor:doctor", "Check an installation, and find stuck executions."),
    CommandPlace("agent", "agent_registry:app", "Register, show, ask and delete agents."),
    CommandPlace(
        "workflow", "workflow_registry:app", "Register, show, start and delete workflows."
    ),
    CommandPlace("execution", "executions:app", "Show, follow, answer and cancel executions."),
    CommandPlace("inputs", "inputs:app", "Show what agents wait for from people."),
    CommandPlace("session", "sessions:app", "Show and delete sessions: conversations with agents."),
)
"""All commands, in the order of the help."""


class _Commands(TyperGroup):
    """Ends a failed command with one line and a hint instead of a traceback."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(
            **fields | {"commands": {each.name: LazyCommand(each) for each in COMMANDS}}
        )

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except CliError as error:
            print_error((error.message, *error.more), error.hint)
            raise typer.Exit(error.code) from None
        except (KeyboardInterrupt, asyncio.CancelledError):
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
