"""`python -m stigma_api check-agents`: what is wrong with agents, as far as they alone say it.

Reads a JSON list of agents from stdin, in the protocol's JSON form. Prints a JSON list with the
violations of each: `[[{"field": …, "description": …}], …]`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from google.protobuf import json_format
from google.rpc.error_details_pb2 import BadRequest

from stigma.agent.v1.agent_pb2 import Agent
from stigma_api.errors import ApiError
from stigma_api.requests.validation import check_agent


def check_agents() -> int:
    """Check the agents of stdin; return the exit code, 0."""
    given = json.loads(sys.stdin.buffer.read())
    found = [_violations(json_format.ParseDict(each, Agent())) for each in given]
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def _violations(agent: Agent) -> list[dict[str, Any]]:
    try:
        check_agent(agent)
    except ApiError as error:
        return [
            {"field": each.field, "description": each.description}
            for detail in error.details
            if isinstance(detail, BadRequest)
            for each in detail.field_violations
        ]
    return []
