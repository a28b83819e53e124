"""`stigma demo`: the code review example from start to end."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from temporalio.client import Client, WorkflowHandle

from stigma.agent.v1.agent_execution_service_pb2 import WatchAgentExecutionResponse
from stigma.agent.v1.agent_pb2 import Agent
from stigma.contracts.executions import Kind
from stigma.contracts.payloads import DATA_CONVERTER
from stigma.contracts.task_queues import TaskQueues
from stigma.diagnosis.v1.diagnosis_service_pb2 import ExecutionTimeline
from stigma_cli.agent_calls import agent_calls
from stigma_cli.agent_registry import AGENTS
from stigma_cli.connections import Api, open_api
from stigma_cli.definition_files import read_agents
from stigma_cli.documents import document_name
from stigma_cli.errors import CliError, Exit
from stigma_cli.examples import example_directory
from stigma_cli.execution_calls import ended_execution, events, list_executions
from stigma_cli.execution_timeline import get_timeline, print_timeline
from stigma_cli.file_texts import read_text
from stigma_cli.output import Format, Output, as_json, print_json, print_line, print_note
from stigma_cli.progress import follow
from stigma_cli.run_inputs import read_input
from stigma_cli.runs import result, start, trace
from stigma_cli.stack import Ports, Stack
from stigma_cli.state_directory import no_file
from stigma_cli.supervision import Supervisor
from stigma_cli.up import started, until_stopped
from stigma_cli.yaml_files import parse_file

DEFAULT_MODEL = "gpt-5-mini"

_VICTIMS = ("stigma_orchestrator", "ai_worker")
_POLL_SECONDS = 0.1

_PROVIDERS = """\
apiVersion: stigma/v1
kind: Provider
metadata:
  name: openai
spec:
  type: openai-compatible
  base_url: {url}
  api_key:
    env: OPENAI_API_KEY
"""


def demo(
    example: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Another directory laid out like examples/code-review."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep-logs", help="Keep the services' logs, and say where.")
    ] = False,
    kill: Annotated[
        bool,
        typer.Option(
            "--kill", help="Kill the orchestrator and the AI worker in the middle of a model call."
        ),
    ] = False,
    output: Output = Format.TEXT,
) -> None:
    """Run the code review example, with all it needs, and stop.

    Everything runs on free ports and in a temporary directory. The agents use the offline scripted
    model; with OPENAI_API_KEY set, a real one: OPENAI_BASE_URL and STIGMA_DEMO_MODEL say which.
    """
    chosen = Example.read(example or example_directory("code-review"))
    try:
        directory = Path(tempfile.mkdtemp(prefix="stigma-demo-"))
    except OSError as error:  # none that is tried has room, or may be written
        hint = "set TMPDIR to a directory with room"
        raise CliError(str(error.strerror), hint, code=Exit.USAGE) from None
    try:
        ended = asyncio.run(until_stopped(_demo(chosen, directory, kill, output)))
    finally:
        if keep:
            print_note(f"logs are in {directory} …")
        else:
            shutil.rmtree(directory)
    if not ended:
        raise typer.Exit(130)


@dataclass(frozen=True)
class Example:
    """An example, read before anything starts."""

    agents: Sequence[Agent]
    name: str
    document: str
    input: Any

    @classmethod
    def read(cls, directory: Path) -> Example:
        """Read a directory laid out like examples/code-review.

        Raises:
            CliError: something is missing or malformed.
        """
        file = directory / "workflow.yaml"
        document = read_text(file)
        try:
            data = read_input(f"@{directory / 'input.json'}")
        except ValueError as error:
            raise CliError(str(error), code=Exit.USAGE) from None
        return cls(
            [_with_model(each.definition) for each in read_agents([directory / "agents"])],
            document_name(parse_file(str(file), document)),
            document,
            data,
        )


async def _demo(example: Example, directory: Path, kill: bool, output: Format) -> None:
    stack = Stack(directory, Ports.free(), environment=_environment(directory))
    async with started(stack):
        if output is Format.TEXT:
            print_line(f"Console: {stack.console_url}")
            print_line(f"Temporal's UI: {stack.ui_url}")
        supervisor = Supervisor(stack.services, print_note) if kill else None
        review = _review(stack, example, output, supervisor)
        outcome, timelines = await stack.while_up(review, supervisor)
    if output is Format.JSON:
        print_json({"output": outcome, "timelines": [as_json(each) for each in timelines]})
        return
    print_json(outcome)
    for each in timelines:
        print_line("")
        print_timeline(each)


async def _review(
    stack: Stack, example: Example, output: Format, supervisor: Supervisor | None
) -> tuple[Any, list[ExecutionTimeline]]:
    client = await Client.connect(
        stack.temporal_address, namespace=stack.namespace, data_converter=DATA_CONVERTER
    )
    async with open_api(stack.api_address) as api:
        for agent in example.agents:
            applied = await AGENTS.apply(api, agent, False)
            if output is Format.TEXT:
                print_line(f"{applied.name}@{applied.version} applied ({applied.spec.model})")
        handle = await start(
            client, example.name, example.document, example.input, queue=TaskQueues().engine
        )
        async with _killing(api, stack, supervisor):
            outcome = await _outcome(stack, handle, output)
        return outcome, [await _timeline(api, each) for each in await _executions(handle)]


async def _outcome(stack: Stack, handle: WorkflowHandle[Any, Any], output: Format) -> Any:
    if output is Format.JSON:
        return await result(handle)
    async with agent_calls(handle, stack.api_address) as agents:
        return await follow(handle, agents)


@asynccontextmanager
async def _killing(api: Api, stack: Stack, supervisor: Supervisor | None) -> AsyncIterator[None]:
    """Kill services while the body runs, if there is a supervisor that starts them again."""
    if supervisor is None:
        yield
        return
    killing = asyncio.create_task(_kill_in_mid_call(api, stack, supervisor))
    try:
        yield
    finally:
        killing.cancel()
        await asyncio.wait([killing])
    if not killing.cancelled():
        killing.result()


async def _kill_in_mid_call(api: Api, stack: Stack, supervisor: Supervisor) -> None:
    """Kill what runs agents and calls models, as soon as an agent's first model call has begun."""
    while not (found := (await list_executions(api, Kind.AGENT, "", 1))[0]):  # noqa: ASYNC110 - only the API knows
        await asyncio.sleep(_POLL_SECONDS)
    async for event in events(api, found[0].id):
        if isinstance(event, WatchAgentExecutionResponse) and event.HasField("model_call_started"):
            break
    victims = [each for each in stack.services if each.name in _VICTIMS]
    await asyncio.gather(*(supervisor.kill(each) for each in victims))


async def _executions(handle: WorkflowHandle[Any, Any]) -> list[str]:
    """Return the ids of the executions that a run called."""
    return [task["executionId"] for task in await trace(handle) if task.get("executionId")]


async def _timeline(api: Api, execution_id: str) -> ExecutionTimeline:
    """Return the timeline of an execution that has delivered its outcome, once it has ended."""
    await ended_execution(api, execution_id)
    return await get_timeline(api, execution_id)


def _with_model(agent: Agent) -> Agent:
    """Let an agent use the real model, when there is a key for one."""
    if os.environ.get("OPENAI_API_KEY"):
        agent.spec.model = f"openai:{os.environ.get('STIGMA_DEMO_MODEL') or DEFAULT_MODEL}"
        agent.spec.ClearField("script")
    return agent


def _environment(directory: Path) -> dict[str, str]:
    """Return what the services inherit: no setting of anybody's, and the provider of the model."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("STIGMA_")
    }
    if os.environ.get("OPENAI_API_KEY") and os.environ.get("OPENAI_BASE_URL"):
        providers = directory / "providers.yaml"
        try:
            providers.write_text(_PROVIDERS.format(url=os.environ["OPENAI_BASE_URL"]))
        except OSError as error:
            raise no_file(error, directory) from None
        environment["STIGMA_PROVIDERS_FILE"] = str(providers)
    return environment
