"""An agent whose old steps are summarised, as people see it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stigma.agent.v1 import agent_execution_service_pb2_grpc as agents_grpc
from stigma.agent.v1.agent_execution_service_pb2 import StartAgentRequest
from stigma_cli.errors import Exit
from tests.stack.channels import open_channel

if TYPE_CHECKING:
    from conftest import Stigma
    from tests.stack.stack import Stack

# Calls of a tool that does not exist are refused: no worker is needed.
AGENT = """\
apiVersion: stigma/v1
kind: Agent
metadata: {name: talker}
spec:
  model: scripted:talker
  tools: [{name: ask, question: {}}]
  context: {maxTokens: 900, keepSteps: 1, strategy: SUMMARIZE}
  script:
    steps:
      - {toolCalls: [{name: none}], usage: {inputTokens: 1000}}
      - {toolCalls: [{name: none}], usage: {inputTokens: 1000}}
      - {text: done}
"""


async def test_a_summary_is_shown(
    stigma: Stigma, env: dict[str, str], stack: Stack, tmp_path: Path
) -> None:
    file = tmp_path / "talker.yaml"
    file.write_text(AGENT)
    applied = await stigma("agent", "apply", "-f", file, **env)
    assert applied.output == "talker@1 applied\n", applied.stderr
    channel = open_channel(stack.api_address)
    executions: Any = agents_grpc.AgentExecutionServiceStub(channel)
    started = await executions.StartAgent(StartAgentRequest(agent_id="talker", message="Hi"))
    await channel.close()
    watched = (await stigma("execution", "watch", started.id, **env)).output
    told = "the steps before 2 are summarised: Summary of 3 messages, up to step 1."
    assert told in watched
    assert "COMPLETED done\n" in watched
    timeline = (await stigma("execution", "timeline", started.id, **env)).output
    assert "summary of the steps before 2, scripted:talker" in timeline
    assert "Summary of 3 messages" not in timeline
    shown = (await stigma("execution", "get", started.id, "--full", **env)).output
    assert "steps:    3\n" in shown
    assert "Summary of" not in shown  # the conversation is whole


async def test_a_model_for_summaries_is_one_of_the_agents(
    stigma: Stigma, env: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "talker.yaml"
    file.write_text(AGENT.replace("SUMMARIZE", "SUMMARIZE, summaryModel: 'scripted:x'"))
    refused = await stigma("agent", "apply", "-f", file, **env)
    assert refused.exit_code == Exit.USAGE
    problem = "must be the agent's model, or one of its allowed_models (/spec/context/summaryModel)"
    assert refused.stderr == f"error: {file}:7:64: {problem}\n"
    file.write_text(AGENT.replace("SUMMARIZE", "DROP, summaryModel: 'scripted:talker'"))
    refused = await stigma("agent", "apply", "-f", file, **env)
    problem = "is only for the strategy SUMMARIZE (/spec/context/summaryModel)"
    assert f": {problem}\n" in refused.stderr
