"""The rules of an agent's tools. Whether they may be used is checked elsewhere."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from stigma.agent.v1.agent_pb2 import ActivityTool, AgentLimits, NexusTool, Tool, WorkflowTool
from stigma.contracts import limits, tools
from stigma.contracts.pending_inputs import answered_kind
from stigma_api.requests.schema_rules import check_schema
from stigma_api.requests.violations import Violations
from stigma_api.temporal.calls import MAX_ID_BYTES

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{0,63}")
_PREFIX = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{0,31}")
_SERVER = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_MAX_MCP_NAME = 128
_ARGUMENT = re.compile(r"[A-Za-z_$][A-Za-z0-9_.$-]{0,63}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
_DURATIONS = ("timeout", "attempt_timeout", "heartbeat_timeout", "start_timeout")


def check_tools(found: Violations, at: str, given: Sequence[Tool]) -> None:
    """Check the tools of an agent."""
    fine = len(given) <= limits.MAX_TOOLS
    found.require(fine, at, f"at most {limits.MAX_TOOLS} tools")
    if not fine:
        return
    seen: dict[str, str] = {}
    for index, tool in enumerate(given):
        here = f"{at}[{index}]"
        if tool.HasField("mcp"):
            _mcp(found, here, tool)
        else:
            _name(found, f"{here}.name", tool.name, seen)
            found.description(f"{here}.description", tool.description)
            check_schema(found, f"{here}.input_schema", tool.input_schema, of_object=True)
            check_schema(found, f"{here}.output_schema", tool.output_schema)
            _kind(found, here, tool)
        _policy(found, f"{here}.policy", tool)


def check_temporal_name(found: Violations, at: str, value: str) -> None:
    """Check the name of a type, a task queue or an endpoint in Temporal."""
    if not value.strip() or _UNPRINTABLE.search(value):
        found.add(at, "must be given, without control characters")
    else:
        found.size(at, value, MAX_ID_BYTES)


def _name(found: Violations, at: str, name: str, seen: dict[str, str]) -> None:
    """Check a name, and that providers can tell it from those before it.

    Args:
        found: collects what is wrong.
        at: path of the field.
        name: the name.
        seen: the names before it by their keys; the name is added.
    """
    if not _NAME.fullmatch(name):
        found.add(at, "must be a letter, then letters, digits, - and _, at most 64")
        return
    key = tools.name_key(name)
    if key == tools.name_key(tools.OUTPUT_TOOL):
        found.add(at, f"{tools.OUTPUT_TOOL} is reserved: by it models give their output")
        return
    problem = f"{seen.get(key)} is one already: case, - and _ make no difference to providers"
    found.require(key not in seen, at, problem)
    seen.setdefault(key, name)


def _kind(found: Violations, at: str, tool: Tool) -> None:
    match tool.WhichOneof("kind"):
        case "activity":
            _activity(found, f"{at}.activity", tool.activity)
        case "workflow":
            _workflow(found, f"{at}.workflow", tool.workflow)
        case "nexus":
            _nexus(found, f"{at}.nexus", tool.nexus)
        case "question":
            for name in ("input_schema", "output_schema"):
                problem = "must be empty for a question: the model gives its text and the schema"
                found.require(not getattr(tool, name), f"{at}.{name}", problem)
        case "client":
            pass
        case "agent":
            found.definition_id(f"{at}.agent.agent", tool.agent.agent)
            _budget(found, f"{at}.agent.budget", tool.agent.budget)
        case _:
            kinds = "an activity, a workflow, a nexus operation, mcp, a question, client or agent"
            found.add(at, f"must be {kinds}")


def _mcp(found: Violations, at: str, tool: Tool) -> None:
    """Check tools of an MCP server, which has names, descriptions and schemas of its own."""
    for name in ("name", "description", "input_schema", "output_schema"):
        problem = "must be empty: the MCP server says it of each of its tools"
        found.require(not getattr(tool, name), f"{at}.{name}", problem)
    server, given, prefix = tool.mcp.server, tool.mcp.tools, tool.mcp.prefix
    problem = "must be the name of an MCP server of the operator"
    found.require(_SERVER.fullmatch(server), f"{at}.mcp.server", problem)
    problem = "must be a letter, then letters, digits, - and _, at most 32"
    found.require(not prefix or _PREFIX.fullmatch(prefix), f"{at}.mcp.prefix", problem)
    fine = len(given) <= limits.MAX_TOOLS
    found.require(fine, f"{at}.mcp.tools", f"at most {limits.MAX_TOOLS} tools")
    for index, name in enumerate(given if fine else ()):
        here = f"{at}.mcp.tools[{index}]"
        found.require(0 < len(name) <= _MAX_MCP_NAME, here, f"1 to {_MAX_MCP_NAME} characters")
        found.require(name not in given[:index], here, "is named twice")


def _activity(found: Violations, at: str, activity: ActivityTool) -> None:
    check_temporal_name(found, f"{at}.type", activity.type)
    check_temporal_name(found, f"{at}.task_queue", activity.task_queue)


def _workflow(found: Violations, at: str, workflow: WorkflowTool) -> None:
    if not workflow.name:
        check_temporal_name(found, f"{at}.type", workflow.type)
        check_temporal_name(found, f"{at}.task_queue", workflow.task_queue)
    elif workflow.type or workflow.task_queue:
        found.add(f"{at}.name", "give either name, or type and task_queue")
    else:
        found.definition_id(f"{at}.name", workflow.name)


def _nexus(found: Violations, at: str, nexus: NexusTool) -> None:
    check_temporal_name(found, f"{at}.endpoint", nexus.endpoint)
    check_temporal_name(found, f"{at}.service", nexus.service)
    check_temporal_name(found, f"{at}.operation", nexus.operation)


def _budget(found: Violations, at: str, budget: AgentLimits) -> None:
    for name in ("steps", "tokens", "cost_usd", "tool_calls"):
        value = getattr(budget, name)
        fine = value >= 0 and math.isfinite(value)
        found.require(fine, f"{at}.{name}", "must not be negative")
    problem = "is the timeout of the tool's policy"
    found.require(not budget.HasField("timeout"), f"{at}.timeout", problem)


def _policy(found: Violations, at: str, tool: Tool) -> None:
    policy, longest = tool.policy, limits.MAX_TOOL_TIMEOUT
    if tool.HasField("agent"):
        for field, _ in policy.ListFields():
            known = field.name in {"timeout", "max_result_bytes", "sequential"}
            found.require(known, f"{at}.{field.name}", "is not for agents that are called")
    if answered_kind(tool) is not None:
        longest = limits.MAX_INPUT_TIMEOUT
        for field, _ in policy.ListFields():
            known = field.name in {"timeout", "max_result_bytes"}
            found.require(known, f"{at}.{field.name}", "must be absent: people answer it")
    fine = [found.duration(f"{at}.{name}", policy, name, longest=longest) for name in _DURATIONS]
    if all(fine):  # a malformed one cannot be compared
        timeout = tools.Policy.of(tool).timeout
        found.require(
            policy.attempt_timeout.ToTimedelta() <= timeout,
            f"{at}.attempt_timeout",
            f"the whole call may take {timeout.total_seconds():g} s",
        )
    found.require(
        not policy.HasField("heartbeat_timeout") or tool.HasField("activity"),
        f"{at}.heartbeat_timeout",
        "is only for activities",
    )
    if not 0 <= policy.attempts <= limits.MAX_TOOL_ATTEMPTS:
        found.add(f"{at}.attempts", f"must be from 1 to {limits.MAX_TOOL_ATTEMPTS}")
    elif policy.attempts and not policy.retry_safe:
        found.add(f"{at}.attempts", "is only for a tool that is retry_safe")
    most = limits.MAX_TOOL_RESULT_BYTES
    found.require(
        0 <= policy.max_result_bytes <= most,
        f"{at}.max_result_bytes",
        f"must be from 1 to {most}",
    )
    argument = policy.idempotency_argument
    found.require(
        not argument or _ARGUMENT.fullmatch(argument),
        f"{at}.idempotency_argument",
        "must be the name of an argument",
    )
