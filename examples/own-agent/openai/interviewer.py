"""An agent of the OpenAI Agents SDK as an agent of Stigma's: each model call of it is told of.

    python interviewer.py [--offline]

It serves task queue `own-agent-openai`, in an environment of its own: see requirements.txt.
`--offline` plays a model; else OPENAI_API_KEY is needed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import timedelta
from typing import Any

from agents import Agent, ModelResponse, RunConfig, RunHooks, Runner, function_tool
from temporalio import workflow
from temporalio.client import Client
from temporalio.openai_agents import ModelActivityParameters, OpenAIAgentsPlugin
from temporalio.openai_agents.testing import ResponseBuilders, TestModel, TestModelProvider
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from stigma_client.runtime import Task, Usage, report, request_input


class Reports(RunHooks[Any]):  # type: ignore[misc] # without its environment, it is Any
    """Tells of each model call as soon as it has ended: a limit that it passes ends the run."""

    async def on_llm_end(
        self,
        context: Any,  # noqa: ARG002
        agent: Any,
        response: ModelResponse,
    ) -> None:
        """Tell of a model call."""
        used = response.usage
        await report(agent.name, usage=Usage(used.input_tokens, used.output_tokens, cost_usd=0))


@function_tool  # type: ignore[untyped-decorator]
async def ask(question: str) -> str:
    """Ask a person.

    Args:
        question: what the person is asked.
    """
    return str(await request_input(question))


@workflow.defn(name="Interviewer")
class Interviewer:
    """Answers with what a person says."""

    @workflow.run
    async def run(self, argument: dict[str, Any]) -> str:
        """Run the agent."""
        task = Task.of(argument)
        interviewer: Agent[Any] = Agent(
            name="interviewer", instructions="Ask a person, then answer.", tools=[ask]
        )
        config = RunConfig(tracing_disabled=True)
        result = await Runner.run(interviewer, task.message, hooks=Reports(), run_config=config)
        return str(result.final_output)


def offline() -> TestModelProvider:
    """Return a model that asks once, and then answers."""
    question = json.dumps({"question": "Which colour?"})
    answers = iter(
        [
            ResponseBuilders.tool_call(question, "ask", call_id="call_1"),
            ResponseBuilders.output_message("A person was asked."),
        ]
    )
    return TestModelProvider(TestModel(lambda: next(answers)))


async def main() -> None:
    """Serve until Ctrl-C."""
    plugin = OpenAIAgentsPlugin(
        model_params=ModelActivityParameters(start_to_close_timeout=timedelta(minutes=2)),
        model_provider=offline() if "--offline" in sys.argv else None,
    )
    client = await Client.connect(
        os.environ.get("TEMPORAL_ADDRESS", "localhost:7233"),
        namespace=os.environ.get("TEMPORAL_NAMESPACE", "default"),
        plugins=[plugin],
    )
    worker = Worker(
        client,
        task_queue="own-agent-openai",
        workflows=[Interviewer],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    await worker.run()


if __name__ == "__main__":
    asyncio.run(main())
