"""`python -m stigma_api check-agents` and `check-workflows`: checks of definitions by themselves.

Reads a JSON list of agents or workflows from stdin, in the protocol's JSON form. Prints a JSON list
with the violations of each: `[[{"field": …, "description": …}], …]`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from google.protobuf import json_format

from stigma.agent.v1.agent_pb2 import Agent
from stigma.workflow.v1.workflow_pb2 import Workflow
from stigma_api.errors import ApiError
from stigma_api.kinds import D
from stigma_api.requests.validation import check_agent, check_workflow


def check_agents() -> int:
    """Check the agents of stdin; return the exit code, 0."""
    return _check(Agent, check_agent)


def check_workflows() -> int:
    """Check the workflows of stdin, their documents' content aside; return the exit code, 0."""
    return _check(Workflow, check_workflow)


def _check(new: Callable[[], D], rules: Callable[[D], None]) -> int:
    given = json.loads(sys.stdin.buffer.read())
    found = [_violations(json_format.ParseDict(each, new()), rules) for each in given]
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def _violations(definition: D, rules: Callable[[D], None]) -> list[dict[str, Any]]:
    try:
        rules(definition)
    except ApiError as error:
        return [{"field": field, "description": text} for field, text in error.violations]
    return []
