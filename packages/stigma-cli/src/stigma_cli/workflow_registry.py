"""`stigma workflow`: the registry of workflows, and executions of them."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from stigma.agent.v1.agent_pb2 import Agent
from stigma.agent.v1.agent_service_pb2 import ListAgentsRequest
from stigma.contracts.executions import Kind
from stigma.workflow.v1.workflow_execution_service_pb2 import StartWorkflowRequest
from stigma.workflow.v1.workflow_pb2 import Workflow
from stigma.workflow.v1.workflow_service_pb2 import (
    ApplyWorkflowRequest,
    DeleteWorkflowRequest,
    GetWorkflowRequest,
    ListWorkflowsRequest,
)
from stigma_cli import definitions
from stigma_cli.connections import Api, open_api
from stigma_cli.definition_checks import workflows_to_apply
from stigma_cli.definitions import DefinitionKind, DryRun, Yes
from stigma_cli.errors import CliError, Exit
from stigma_cli.execution_calls import ended_execution
from stigma_cli.executions import (
    completed,
    follow_events,
    goes_on_when_interrupted,
    print_ended,
    print_started,
)
from stigma_cli.options import Files, FilesOption, duration_of, given_files, not_empty
from stigma_cli.output import (
    Format,
    Output,
    as_duration,
    print_line,
    print_note,
)
from stigma_cli.run_inputs import read_input_text

app = typer.Typer(help="Register, show, start and delete workflows.", no_args_is_help=True)


async def _users(api: Api, name: str) -> list[str]:
    """Return the agents, in their newest versions, whose tools are a workflow."""
    agents: list[Agent] = []
    request = ListAgentsRequest(page_size=1000)
    while True:
        page = await api.call(api.agents.ListAgents, request)
        agents.extend(page.agents)
        request.page_token = page.next_page_token
        if not request.page_token:
            break
    return [
        f"agent {agent.name}"
        for agent in agents
        if any(tool.workflow.name.partition("@")[0] == name for tool in agent.spec.tools)
    ]


WORKFLOWS: DefinitionKind[Workflow] = DefinitionKind(
    kind=Kind.WORKFLOW,
    read=workflows_to_apply,
    apply=lambda api, workflow, dry_run: api.call_checked(
        api.workflows.ApplyWorkflow, ApplyWorkflowRequest(workflow=workflow, validate_only=dry_run)
    ),
    get=lambda api, workflow_id: api.call(
        api.workflows.GetWorkflow, GetWorkflowRequest(id=workflow_id)
    ),
    list_page=lambda api, token: api.call(
        api.workflows.ListWorkflows, ListWorkflowsRequest(page_size=1000, page_token=token)
    ),
    delete=lambda api, name: api.call(
        api.workflows.DeleteWorkflow, DeleteWorkflowRequest(name=name)
    ),
    column=("DESCRIPTION", lambda workflow: workflow.spec.description),
    rows=lambda workflow: [
        ("description", workflow.spec.description),
        ("timeout", _timeout(workflow)),
    ],
    body=lambda workflow: ("document", f"\n{workflow.spec.document.rstrip()}"),
    users=_users,
)

WorkflowId = Annotated[
    str, typer.Argument(metavar="WORKFLOW", help="NAME for the newest version, or NAME@VERSION.")
]


@app.command()
def apply(
    files: Files = None,
    file: FilesOption = None,
    dry_run: DryRun = False,
    output: Output = Format.TEXT,
) -> None:
    """Register workflows, or new versions of them.

    A file holds workflows as `kind: Workflow`, or one workflow document as it is, which is then
    registered by its own name. All files are checked before any is
    registered: all mistakes are told, as `stigma validate` does. Unchanged ones stay as they are.
    """
    definitions.apply_files(WORKFLOWS, given_files(files, file), dry_run, output)


@app.command()
def get(workflow: WorkflowId, output: Output = Format.TEXT) -> None:
    """Show one workflow."""
    definitions.print_one(WORKFLOWS, workflow, output)


@app.command("list")
def list_(output: Output = Format.TEXT) -> None:
    """List the newest version of every workflow."""
    definitions.print_all(WORKFLOWS, output)


@app.command()
def delete(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The workflow's name.")],
    yes: Yes = False,
    output: Output = Format.TEXT,
) -> None:
    """Delete all versions of a workflow. Running executions keep theirs."""
    definitions.delete(WORKFLOWS, name, output, yes=yes)


@app.command()
def start(
    workflow: WorkflowId,
    *,
    input: Annotated[  # noqa: A002 - the option's name
        str,
        typer.Option("--input", "-i", metavar="JSON", help="The input: JSON, or @FILE with JSON."),
    ] = "null",
    request_id: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            callback=not_empty,
            help="Start it once, however often this command is given this id.",
        ),
    ] = None,
    session: Annotated[
        str, typer.Option(metavar="SESSION", help="Groups executions that belong together.")
    ] = "",
    timeout: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Time it out after so long, for instance 10m."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for its output, and print it.")
    ] = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="Show what happens to its end, and its tasks (from Temporal; else its calls).",
        ),
    ] = False,
    output: Output = Format.TEXT,
) -> None:
    """Start a registered workflow, and print its execution's id.

    With --wait or --watch, exits 1 unless it completes.
    """
    request = StartWorkflowRequest(
        workflow_id=workflow, request_id=request_id or "", session_id=session
    )
    if timeout is not None:
        request.config.timeout.FromTimedelta(duration_of("--timeout", timeout))
    try:
        request.input_json = read_input_text(input)
    except ValueError as error:
        raise CliError(str(error), code=Exit.USAGE) from None
    asyncio.run(_start(request, wait=wait, watch=watch, output=output))


async def _start(request: StartWorkflowRequest, *, wait: bool, watch: bool, output: Format) -> None:
    async with open_api() as api:
        started = await api.call_once(api.workflow_executions.StartWorkflow, request)
        if not wait and not watch:
            print_started(started, output)
            return
        if watch and output is Format.TEXT:
            print_line(started.id)
        else:
            print_note(f"started {started.id}")
        async with goes_on_when_interrupted(started.id):
            if watch and output is Format.TEXT:
                from stigma_cli.run_tasks import run_tasks  # noqa: PLC0415 - Temporal's client

                async with run_tasks() as tasks:
                    ended = await follow_events(api, started.id, see=tasks.see)
            elif watch:
                ended = await follow_events(api, started.id, output=output)
            else:
                ended = await ended_execution(api, started.id)
    if not watch:
        print_ended(ended, output)
    if not completed(ended):
        raise typer.Exit(Exit.FAILED)


def _timeout(workflow: Workflow) -> str:
    if not workflow.spec.limits.HasField("timeout"):
        return ""
    return as_duration(workflow.spec.limits.timeout.ToTimedelta())
