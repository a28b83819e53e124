"""Executions of agents below another one: their input, memo and search attributes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.message import Message
from temporalio.common import RawValue, SearchAttributePair, TypedSearchAttributes

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_PENDING,
    AgentExecution,
    AgentExecutionSpec,
    ToolCall,
)
from stigma.agent.v1.agent_pb2 import AgentLimits, Tool
from stigma.contracts import configuration, json_text, limits, payloads, search_attributes, tools
from stigma.internal.v1.execution_pb2 import AgentWorkflowInput, Lineage, SubAgent

MEMO_EXECUTION = "execution"
"""Key of the memo of an execution's workflow: as started, without what is large or private."""
MEMO_DIGEST = "digest"
"""Key of the memo with the digest of the request that started it, in hex."""
STRIPPED_AGENT_FIELDS = ("instructions", "output_schema", "script", "tools", "approval")
"""Fields of an agent that are too large for memos and replies."""
PRIVATE_SPEC_FIELDS = ("message", "input_json", "env")
"""Fields of an execution's spec that are left out of the memo."""


def below(name: str, found: Mapping[str, SubAgent]) -> dict[str, SubAgent]:
    """Return the agents that one of them leads to, by what tools name."""
    reached: dict[str, SubAgent] = {}
    pending = list(tools.agents_called(found[name].agent.spec))
    while pending:
        each = pending.pop()
        if each not in reached:
            reached[each] = found[each]
            pending += tools.agents_called(found[each].agent.spec)
    return reached


def child_input(
    request: AgentWorkflowInput,
    tool: Tool,
    call: ToolCall,
    *,
    share: AgentLimits,
    lineage: Lineage,
    now: datetime,
) -> AgentWorkflowInput:
    """Return the input of the execution that a call of an agent is.

    Args:
        request: of the execution that calls.
        tool: that is called.
        call: the call.
        share: what the execution may use.
        lineage: of the execution.
        now: by Temporal's clock.
    """
    found = request.sub_agents[tool.agent.agent]
    agent, parent = found.agent, request.spec
    spec = AgentExecutionSpec(
        agent_id=f"{agent.name}@{agent.version}",
        agent=agent.spec,
        session_id=parent.session_id,
        labels=dict(parent.labels),
        request_id=parent.request_id,
        principal=parent.principal,
        partial_text=parent.partial_text,
    )
    if tool.input_schema:
        spec.input_json = call.arguments_json
    else:
        spec.message = json_text.parse(call.arguments_json)["message"]
    spec.config.limits.CopyFrom(share)
    left = max(request.deadline.ToDatetime(UTC) - now, timedelta(milliseconds=1))
    own = configuration.configure(agent.spec, spec.config).timeout
    given = tool.policy.timeout.ToTimedelta() or None
    timeout = min(each for each in (left, own, given) if each is not None)
    child = AgentWorkflowInput(
        execution_id=tools.child_workflow_id(request.execution_id, call.call_id),
        spec=spec,
        mcp_tools=agent.mcp_tools,
        lineage=lineage,
    )
    for name, workflow in found.tool_workflows.items():
        child.tool_workflows[name].CopyFrom(workflow)
    for name, each in below(tool.agent.agent, request.sub_agents).items():
        child.sub_agents[name].CopyFrom(each)
    child.timeout.FromTimedelta(timeout)
    child.deadline.FromDatetime(now + timeout)
    return child


def memo(child: AgentWorkflowInput, now: datetime) -> dict[str, RawValue | str]:
    """Return the memo by which the API knows an execution."""
    initial = AgentExecution(id=child.execution_id, spec=child.spec)
    agent: Message = initial.spec.agent
    for name in STRIPPED_AGENT_FIELDS:
        agent.ClearField(name)
    spec: Message = initial.spec
    for name in PRIVATE_SPEC_FIELDS:
        spec.ClearField(name)
    status = initial.status
    status.phase = AGENT_EXECUTION_PHASE_PENDING
    status.start_time.FromDatetime(now)
    status.deadline.CopyFrom(child.deadline)
    status.parent, status.root = child.lineage.parent, child.lineage.root
    return {MEMO_EXECUTION: payloads.to_binary_payload(initial), MEMO_DIGEST: ""}


def attributes(child: AgentWorkflowInput, now: datetime) -> TypedSearchAttributes:
    """Return the search attributes of an execution of an agent below another one."""
    spec, timeout = child.spec, child.timeout.ToTimedelta()
    pairs: list[SearchAttributePair[Any]] = [
        SearchAttributePair(search_attributes.AGENT, spec.agent_id.partition("@")[0]),
        SearchAttributePair(search_attributes.PRINCIPAL, spec.principal),
        SearchAttributePair(search_attributes.START_TIME, now),
        SearchAttributePair(search_attributes.WARN_TIME, now + limits.WARN_AFTER * timeout),
        SearchAttributePair(search_attributes.ROOT, child.lineage.root),
        SearchAttributePair(search_attributes.PARENT, child.lineage.parent),
    ]
    if spec.session_id:
        pairs.append(SearchAttributePair(search_attributes.SESSION, spec.session_id))
    if spec.labels:
        labels = [f"{key}={value}" for key, value in sorted(spec.labels.items())]
        pairs.append(SearchAttributePair(search_attributes.LABELS, labels))
    return TypedSearchAttributes(pairs)
