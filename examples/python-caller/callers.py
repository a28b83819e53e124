"""Callers of Stigma in Python: `python callers.py single|parallel|wait|watch [flags] TEXT`."""

import argparse
import asyncio
import json
import logging
import os
import sys
import uuid
from datetime import timedelta
from typing import Any

import grpc
from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.envconfig import ClientConfig
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from stigma.agent.v1.agent_execution_pb2 import AgentExecution, AgentExecutionPhase
from stigma.agent.v1.agent_execution_service_pb2 import (
    StartAgentRequest,
    WatchAgentExecutionRequest,
)
from stigma_client import (
    ApiConnection,
    StigmaPlugin,
    WorkflowExecutionTimedOut,
    run_agent,
    run_workflow,
)


@workflow.defn
class Single:
    """Asks one agent. An error that nobody catches fails the workflow with Stigma's type."""

    @workflow.run
    async def run(self, agent: str, message: str, seconds: float) -> str:
        """Return the agent's answer."""
        return (await run_agent(agent, message, timeout=timedelta(seconds=seconds))).text


@workflow.defn
class Parallel:
    """Asks several agents at once, and waits for all. Each has a token of its own."""

    @workflow.run
    async def run(self, agents: list[str], message: str, seconds: float) -> list[str]:
        """Return their answers."""
        asked = [run_agent(agent, message, timeout=timedelta(seconds=seconds)) for agent in agents]
        return [result.text for result in await asyncio.gather(*asked)]


@workflow.defn
class WithFallback:
    """Waits for a Stigma workflow, and answers without it when it takes too long."""

    @workflow.run
    async def run(self, name: str, text: str, fallback: str, seconds: float) -> str:
        """Return the workflow's output as JSON, or the fallback."""
        try:
            data = json.loads(text)
            result = await run_workflow(name, input=data, timeout=timedelta(seconds=seconds))
        except WorkflowExecutionTimedOut as error:
            if error.execution_id:
                # Stigma's own answer: the execution is TIMED_OUT and has been stopped.
                return f"{fallback} ({error.type}, {error.execution_id})"
            # Temporal's: nobody answered in time. The execution is stopped when Stigma is back.
            return f"{fallback} (TEMPORAL_TIMEOUT, {error.reason})"
        return json.dumps(result.output)


async def main(options: argparse.Namespace) -> int:
    """Run one example; returns the exit code."""
    try:
        api = ApiConnection.from_environment()
    except ValueError as error:
        return failed(str(error))
    try:
        if options.example == "watch":
            return await watch(api, options)
        await in_workflow(api, options)
    except WorkflowFailureError as error:
        return failed(described(error.cause))
    except grpc.aio.AioRpcError as error:
        return failed(f"{error.code().name}: {error.details()}")
    finally:
        await api.close()
    return 0


async def in_workflow(api: ApiConnection, options: argparse.Namespace) -> None:
    """Serve the examples' workflows, and run one of them."""
    settings = {"target_host": "localhost:7233"} | ClientConfig.load_client_connect_config()
    client = await Client.connect(**settings, plugins=[StigmaPlugin(connection=api)])
    workflows = [Single, Parallel, WithFallback]
    agents = options.agents.split(",")
    name, arguments = "WithFallback", [options.workflow, options.text, options.fallback]
    if options.example == "single":
        name, arguments = "Single", [agents[0], options.text]
    elif options.example == "parallel":
        name, arguments = "Parallel", [agents, options.text]
    async with Worker(client, task_queue=options.queue, workflows=workflows):
        answer: Any = await client.execute_workflow(
            name, args=[*arguments, options.timeout], id=options.id, task_queue=options.queue
        )
    lines = [answer]
    if options.example == "parallel":
        lines = [f"{agent}: {text}" for agent, text in zip(agents, answer, strict=True)]
    sys.stdout.writelines(f"{line}\n" for line in lines)


async def watch(api: ApiConnection, options: argparse.Namespace) -> int:
    """Start an agent without a token, so that nobody is called back, and watch it."""
    request = StartAgentRequest(
        agent_id=options.agents.split(",")[0], message=options.text, request_id=str(uuid.uuid4())
    )
    started = await api.executions.StartAgent(request, metadata=api.metadata())
    execution = await ended(api, started.id)
    status = execution.status
    if status.phase != AgentExecutionPhase.AGENT_EXECUTION_PHASE_COMPLETED:
        return failed(f"{execution.id}: {status.failure.message}")
    sys.stdout.write(f"{status.output.text}\n")
    return 0


async def ended(api: ApiConnection, execution_id: str) -> AgentExecution:
    """Show what happens until the execution has ended; a broken connection loses nothing."""
    request = WatchAgentExecutionRequest(id=execution_id)
    while True:
        try:
            async for event in api.executions.WatchAgentExecution(request, metadata=api.metadata()):
                request.cursor = event.cursor
                moment = event.time.ToDatetime()
                sys.stdout.write(f"{moment:%H:%M:%S} {event.WhichOneof('event')}\n")
                if event.HasField("ended"):
                    return event.ended.execution
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
        await asyncio.sleep(1)


def failed(why: str) -> int:
    """Say in one line what went wrong; returns the exit code."""
    sys.stderr.write(f"error: {why}\n")
    return 1


def described(cause: BaseException | None) -> str:
    """Say in one line what a workflow failed with."""
    if isinstance(cause, ApplicationError):
        return f"{cause.type}: {cause.message}"
    return "cancelled" if type(cause).__name__ == "CancelledError" else str(cause)


class JsonLines(logging.Formatter):
    """Prints the hand-off's events with the names that Stigma's services use."""

    FIELDS = (
        *("request_id", "execution_id", "workflow_id", "run_id", "activity_id", "attempt"),
        *("agent", "workflow", "callback_fingerprint", "token_length"),
    )

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        fields = {name: getattr(record, name) for name in self.FIELDS if hasattr(record, name)}
        return json.dumps({"level": "info", "event": record.getMessage(), **fields})


def command_line() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("example", choices=["single", "parallel", "wait", "watch"])
    parser.add_argument("--agents", default="style-reviewer", help="by commas")
    parser.add_argument("--workflow", default="shipping")
    parser.add_argument("--fallback", default='"later"')
    parser.add_argument("--timeout", type=float, default=7200, help="seconds")
    parser.add_argument("--id", default=f"caller-{uuid.uuid4()}", help="of our own workflow")
    parser.add_argument("--queue", default="python-callers", help="of our own worker")
    parser.add_argument("text", help="message, or the workflow's input as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.getLogger("stigma_client").addHandler(handler)
    logging.getLogger("stigma_client").setLevel(logging.INFO)
    code = asyncio.run(main(command_line()))
    sys.stdout.flush()
    os._exit(code)  # the SDK's threads now and then crash in Python's own way out
