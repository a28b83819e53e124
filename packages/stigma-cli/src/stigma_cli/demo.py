"""`stigma demo`: the code review example from start to end."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from temporalio.client import Client, WorkflowHandle

from stigma.agent.v1.agent_pb2 import Agent
from stigma.contracts.payloads import DATA_CONVERTER
from stigma.contracts.task_queues import TaskQueues
from stigma_cli.agent_files import read_agents
from stigma_cli.agents import apply_agent
from stigma_cli.connections import open_api
from stigma_cli.documents import document_name
from stigma_cli.exits import CliError, Exit
from stigma_cli.output import Format, Output, print_json, print_line, print_table
from stigma_cli.progress import follow
from stigma_cli.resource_files import read_text
from stigma_cli.runs import read_input, result, start
from stigma_cli.stack import Ports, Stack
from stigma_cli.timeline import (
    Moment,
    agents_of_logs,
    in_order,
    moments_of_history,
    moments_of_logs,
)
from stigma_cli.up import say, started, until_stopped, while_up

DEFAULT_MODEL = "gpt-5-mini"

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
    output: Output = Format.TEXT,
) -> None:
    """Run the code review example, with all it needs, and stop.

    Everything runs on free ports and in a temporary directory. The agents use the offline scripted
    model; with OPENAI_API_KEY set, a real one: OPENAI_BASE_URL and STIGMA_DEMO_MODEL say which.
    """
    chosen = Example.read(example or _example())
    directory = Path(tempfile.mkdtemp(prefix="stigma-demo-"))
    try:
        ended = asyncio.run(until_stopped(_demo(chosen, directory, output)))
    finally:
        if keep:
            say(f"logs are in {directory}")
        else:
            shutil.rmtree(directory)
    if not ended:
        raise typer.Exit(130)


@dataclass(frozen=True)
class Example:
    """What is run, read before anything starts."""

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
            [_with_model(agent) for _, agent in read_agents([directory / "agents"])],
            document_name(str(file), document),
            document,
            data,
        )


async def _demo(example: Example, directory: Path, output: Format) -> None:
    stack = Stack(directory, Ports.free(), environment=_environment(directory))
    async with started(stack):
        if output is Format.TEXT:
            print_line(f"Console: {stack.console_url}")
            print_line(f"Temporal's UI: {stack.ui_url}")
        handle, outcome = await while_up(stack, _review(stack, example, output))
        history = await handle.fetch_history()
    # The last events are written when the services have stopped.
    logs = [service.log for service in stack.services]
    timeline = in_order([*moments_of_history(history), *moments_of_logs(logs)])
    _print(outcome, timeline, agents_of_logs(logs), output)


async def _review(
    stack: Stack, example: Example, output: Format
) -> tuple[WorkflowHandle[Any, Any], Any]:
    async with open_api(stack.api_address) as api:
        for agent in example.agents:
            applied = await apply_agent(api, agent)
            if output is Format.TEXT:
                print_line(f"{applied.name}@{applied.version} applied ({applied.spec.model})")
    client = await Client.connect(
        stack.temporal_address, namespace=stack.namespace, data_converter=DATA_CONVERTER
    )
    handle = await start(
        client, example.name, example.document, example.input, queue=TaskQueues().engine
    )
    return handle, await (follow(handle) if output is Format.TEXT else result(handle))


def _print(
    outcome: Any,
    timeline: list[tuple[float, Moment]],
    agents: Mapping[str, str],
    output: Format,
) -> None:
    if output is Format.JSON:
        moments = [
            {
                "ms": round(ms, 1),
                "agent": agents.get(moment.request_id, ""),
                "service": moment.service,
                "event": moment.event,
                "requestId": moment.request_id,
                "detail": moment.detail,
            }
            for ms, moment in timeline
        ]
        print_json({"output": outcome, "timeline": moments})
        return
    print_json(outcome)
    # A call after another: side by side, two waits hide each other.
    for request_id in dict.fromkeys(moment.request_id for _, moment in timeline):
        call = [(ms, moment) for ms, moment in timeline if moment.request_id == request_id]
        name = agents.get(request_id, request_id).partition("@")[0]
        print_line(f"\nHow the call of {name} went, in milliseconds since the first call:\n")
        rows = ((f"{ms:.0f}", each.service, each.event, each.detail) for ms, each in call)
        print_table((">MS", "SERVICE", "EVENT", "DETAIL"), rows)


def _with_model(agent: Agent) -> Agent:
    """Let an agent use the real model, when there is a key for one."""
    if os.environ.get("OPENAI_API_KEY"):
        agent.spec.model = f"openai:{os.environ.get('STIGMA_DEMO_MODEL') or DEFAULT_MODEL}"
        agent.spec.ClearField("script")
    return agent


def _environment(directory: Path) -> dict[str, str]:
    """Return what the services inherit: nothing that configures another installation."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("STIGMA_", "TEMPORAL_"))
    }
    if os.environ.get("OPENAI_API_KEY") and os.environ.get("OPENAI_BASE_URL"):
        providers = directory / "providers.yaml"
        providers.write_text(_PROVIDERS.format(url=os.environ["OPENAI_BASE_URL"]))
        environment["STIGMA_PROVIDERS_FILE"] = str(providers)
    return environment


def _example() -> Path:
    """Find the example: below the current directory, or in the checkout this is installed from."""
    for root in (Path.cwd(), *Path(__file__).resolve().parents):
        example = root / "examples" / "code-review"
        if example.is_dir():
            return example
    raise CliError(
        "examples/code-review is not here",
        "run it in a checkout of Stigma, or name a directory with --example",
        code=Exit.USAGE,
    )
