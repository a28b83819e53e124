"""A start request on its way through the steps of `executions.start`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic

from temporalio.common import RawValue

from stigma.agent.v1.agent_execution_pb2 import AgentExecutionSpec
from stigma.agent.v1.agent_pb2 import McpToolDefinition
from stigma.internal.v1.execution_pb2 import Bind, SubAgent
from stigma.workflow.v1.workflow_pb2 import Workflow
from stigma_api.access.principals import Principal
from stigma_api.kinds import E, ExecutionKind, ExecutionSpec, StartRequest


@dataclass(repr=False)  # it holds the callback token and the prompt
class StartCommand(Generic[E]):
    """A start request, and what each step adds to it."""

    kind: ExecutionKind[E]
    principal: Principal
    request: StartRequest

    definition: tuple[str, int | None] | None = field(init=False)
    """From validate: name and version of a registered agent or workflow; None for an inline one."""

    request_id: str = field(init=False)
    """From authorise: given, the token's, or a new one."""
    execution_id: str = field(init=False)
    digest: bytes = field(init=False)
    """SHA-256 of the request, equal for each of its attempts."""
    bind: Bind | None = field(init=False)
    """The attempt that waits."""
    callback_deadline: datetime | None = field(init=False)
    """When the attempt times out, if that is given."""

    spec: ExecutionSpec = field(init=False)
    """From resolve: the whole of it, and the rest as Temporal is sent it."""
    tool_workflows: Mapping[str, Workflow] = field(init=False)
    """The registered workflows that an agent's tools run, by the tools' names."""
    mcp_tools: Sequence[McpToolDefinition] = field(init=False)
    """The tools of MCP servers: of the agent's version, or as listed now for an inline one."""
    sub_agents: Mapping[str, SubAgent] = field(init=False)
    """The registered agents that an agent's tools lead to, by what the tools name."""
    input: RawValue = field(init=False)
    bind_payload: RawValue | None = field(init=False)
    initial: E = field(init=False)
    """The execution as the memo holds it, without what is large or private."""
    memo: Mapping[str, RawValue | str] = field(init=False)
    reply: E = field(init=False)
    """The execution as the caller is answered, without what is large."""

    @property
    def takes_turn(self) -> bool:
        """Whether the execution is a turn of a session; known once it is resolved.

        For workflows, and for agents that are workflows of their own, a session is a label.
        """
        spec = self.spec
        if not isinstance(spec, AgentExecutionSpec) or spec.agent.HasField("runtime"):
            return False
        return bool(spec.session_id)
