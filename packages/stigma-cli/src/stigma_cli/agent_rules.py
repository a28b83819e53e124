"""The API's rules for agents, applied without an API where it is installed."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from collections.abc import Sequence

from stigma.agent.v1.agent_pb2 import Agent
from stigma_cli.child_process import python_module
from stigma_cli.errors import CliError, Exit
from stigma_cli.output import as_json
from stigma_cli.violations import Violation

_API = "stigma_api"
_CHECK_TIMEOUT_SECONDS = 60.0


def violations_of_agents(agents: Sequence[Agent]) -> list[list[Violation]] | None:
    """Return what the rules refuse of each agent; None where the API is not installed here.

    What an agent names elsewhere is not looked at: task queues, other agents, MCP servers.

    Raises:
        CliError: the API, which is a process of its own, cannot check anything.
    """
    if importlib.util.find_spec(_API) is None:
        return None
    given = json.dumps([as_json(each) for each in agents])
    try:
        checked = subprocess.run(
            python_module(_API, "check-agents"),
            input=given.encode(),
            capture_output=True,
            timeout=_CHECK_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CliError(
            f"{_API} did not check the agents within {_CHECK_TIMEOUT_SECONDS:g} s",
            code=Exit.UNREACHABLE,
        ) from None
    try:
        return [[Violation(**one) for one in each] for each in json.loads(checked.stdout)]
    except (ValueError, TypeError):
        last = checked.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise CliError(f"{_API} cannot check the agents: {last}") from None
