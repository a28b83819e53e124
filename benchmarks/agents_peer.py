"""The hard shape with Temporal's plugin for the OpenAI Agents SDK, run by a Python that has it.

    PYTHON -P benchmarks/agents_peer.py TEMPORAL_ADDRESS CALLS TEXT_BYTES RESULT_BYTES

`temporalio-openai-agents` is in an environment of its own: it needs other versions of what Stigma
needs. The last line is JSON: model calls reached, bytes and events of history, seconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from datetime import timedelta
from typing import Any

from agents import Agent, ModelResponse, RunConfig, Runner
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.openai_agents import ModelActivityParameters, OpenAIAgentsPlugin
from temporalio.openai_agents.testing import ResponseBuilders, TestModel, TestModelProvider
from temporalio.openai_agents.workflow import activity_as_tool
from temporalio.worker import UnsandboxedWorkflowRunner, Worker


@activity.defn
async def lookup(size: int) -> str:
    """Return a text of so many bytes."""
    return "x" * size


@workflow.defn
class PeerAgent:
    """An agent with one tool."""

    @workflow.run
    async def run(self, calls: int) -> str:
        tool = activity_as_tool(lookup, start_to_close_timeout=timedelta(seconds=60))
        agent = Agent(name="peer", instructions="Look things up.", tools=[tool])
        config = RunConfig(tracing_disabled=True)
        result = await Runner.run(agent, "Begin.", max_turns=calls + 2, run_config=config)
        return str(result.final_output)


def responses(calls: int, text_bytes: int, result_bytes: int) -> TestModel:
    """A model that calls the tool so often, with a text beside each call, and then ends."""
    made = 0

    def respond() -> ModelResponse:
        nonlocal made
        made += 1
        if made > calls:
            return ResponseBuilders.output_message("done")
        called = ResponseBuilders.tool_call(
            json.dumps({"size": result_bytes}), "lookup", call_id=f"call_{made}"
        )
        said = ResponseBuilders.output_message("y" * text_bytes)
        called.output = [*said.output, *called.output]
        return called

    return TestModel(respond)


async def main(address: str, *numbers: str) -> None:
    """Run the shape once, and print what it came to."""
    calls, text_bytes, result_bytes = map(int, numbers)
    model = responses(calls, text_bytes, result_bytes)
    plugin = OpenAIAgentsPlugin(
        model_params=ModelActivityParameters(start_to_close_timeout=timedelta(seconds=60)),
        model_provider=TestModelProvider(model),
    )
    client = await Client.connect(address, plugins=[plugin])
    queue = f"peer-{uuid.uuid4()}"
    async with Worker(
        client,
        task_queue=queue,
        workflows=[PeerAgent],
        activities=[lookup],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        began = time.monotonic()
        handle = await client.start_workflow(
            PeerAgent.run, calls, id=queue, task_queue=queue, execution_timeout=timedelta(minutes=5)
        )
        ended = "completed"
        try:
            await handle.result()
        except WorkflowFailureError as error:
            ended = str(error.cause)[:100]
        seconds = time.monotonic() - began
    info: Any = (await handle.describe()).raw_description.workflow_execution_info
    answered = 0
    scheduled: set[int] = set()
    async for event in handle.fetch_history_events():
        attributes = event.activity_task_scheduled_event_attributes
        if "model" in attributes.activity_type.name:
            scheduled.add(event.event_id)
        done = event.activity_task_completed_event_attributes.scheduled_event_id
        answered += done in scheduled
    print(
        json.dumps(
            {
                "ended": ended,
                "answers": answered,
                "bytes": info.history_size_bytes,
                "events": info.history_length,
                "seconds": round(seconds, 1),
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
