"""The API's rules for agents, applied without an API where it is installed."""

from __future__ import annotations

import json
from collections.abc import Sequence

from stigma.agent.v1.agent_pb2 import Agent
from stigma_cli.output import as_json
from stigma_cli.service_checks import is_installed, run_check
from stigma_cli.violations import Violation

_API = "stigma_api"


def violations_of_agents(agents: Sequence[Agent]) -> list[list[Violation]] | None:
    """Return what the rules refuse of each agent; None where the API is not installed here.

    What an agent names elsewhere is not looked at: task queues, other agents, MCP servers.

    Raises:
        CliError: the API, which is a process of its own, cannot check anything.
    """
    if not is_installed(_API):
        return None
    return run_check(
        *(_API, "check-agents"),
        text=json.dumps([as_json(each) for each in agents]),
        what="the agents",
        read=lambda found: [[Violation(**one) for one in each] for each in found],
    )
