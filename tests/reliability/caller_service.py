"""A caller's worker as a process: a service of somebody who uses `stigma_client`.

`python -m tests.reliability.caller_service`; it lives as Stigma's own services do, so that it can
be started, killed and read like them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from google.protobuf import json_format

    from stigma.agent.v1.agent_pb2 import AgentSpec
    from stigma.contracts.payloads import DATA_CONVERTER
    from stigma.runtime import (
        Component,
        ServiceRuntime,
        ServiceSettings,
        WorkerComponent,
        load_settings,
        serve,
        worker_options,
    )
    from stigma.workflow.v1.workflow_pb2 import WorkflowConfig, WorkflowSpec
    from stigma_client import (
        AgentExecutionError,
        StigmaPlugin,
        WorkflowExecutionError,
        run_agent,
        run_workflow,
    )
    from stigma_client.runtime import Task, Usage, report, request_input

QUEUE = "caller"


@dataclass
class Question:
    """What one workflow asks; seconds. `spec` is an AgentSpec's JSON form."""

    message: str
    spec: dict[str, Any]
    timeout: float = 120.0
    heartbeat_timeout: float = 60.0
    request_id: str | None = None


@workflow.defn
class AskAgent:
    """Asks an agent and tells what came of it."""

    @workflow.run
    async def run(self, question: Question) -> dict[str, Any]:
        try:
            result = await run_agent(
                message=question.message,
                spec=json_format.ParseDict(question.spec, AgentSpec()),
                timeout=timedelta(seconds=question.timeout),
                heartbeat_timeout=timedelta(seconds=question.heartbeat_timeout),
                request_id=question.request_id,
            )
        except AgentExecutionError as error:
            return {
                "error": error.type,
                "reason": error.reason,
                "step": error.step,
                "execution_id": error.execution_id,
                "details": list(error.details),
            }
        return {"output": result.output, "execution_id": result.execution_id}


@dataclass
class Errand:
    """What one workflow has done; seconds. `document` is a document's text."""

    document: str
    request_id: str
    timeout: float = 120.0
    """Of the execution itself; the caller waits longer."""
    heartbeat_timeout: float = 60.0
    data: Any = None
    """The document's input."""


@workflow.defn
class RunDocument:
    """Runs a document and tells what came of it."""

    @workflow.run
    async def run(self, errand: Errand) -> dict[str, Any]:
        config = WorkflowConfig()
        config.timeout.FromTimedelta(timedelta(seconds=errand.timeout))
        try:
            result = await run_workflow(
                spec=WorkflowSpec(document=errand.document),
                input=errand.data,
                config=config,
                timeout=timedelta(minutes=5),
                heartbeat_timeout=timedelta(seconds=errand.heartbeat_timeout),
                request_id=errand.request_id,
            )
        except WorkflowExecutionError as error:
            return {"error": error.type, "reason": error.reason, "step": error.step}
        return {"output": result.output, "execution_id": result.execution_id}


@workflow.defn
class OwnAgent:
    """An agent without a model: it reports `steps` of its input, and asks what is in `ask`."""

    @workflow.run
    async def run(self, argument: dict[str, Any]) -> dict[str, Any]:
        task = Task.of(argument)
        for number in range(1, task.input.get("steps", 0) + 1):
            await report(f"step {number}", f"did {number}", Usage(30, 12, cost_usd=0.5))
        answers = [await request_input(question) for question in task.input.get("ask", ())]
        return {"said": task.message, "answers": answers}


class CallerSettings(ServiceSettings):
    """Environment variables of a service; the plugin reads STIGMA_API_ADDRESS itself."""


async def build(runtime: ServiceRuntime) -> Sequence[Component]:
    client = await runtime.connect_temporal(data_converter=DATA_CONVERTER)
    worker = Worker(
        client,
        task_queue=runtime.settings.task_queue_prefix + QUEUE,
        workflows=[AskAgent, RunDocument, OwnAgent],
        plugins=[StigmaPlugin.from_environment()],
        **worker_options(runtime.settings),
    )
    return [WorkerComponent("caller", worker, runtime.readiness)]


def main() -> int:
    return serve("caller", load_settings(CallerSettings, "caller"), build)


if __name__ == "__main__":
    sys.exit(main())
