"""The third step of a start: find definition and deadline, and encode what Temporal is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Generic, cast

from google.protobuf.message import Message
from temporalio.client import Client
from temporalio.common import RawValue

from stigma.agent.v1.agent_execution_pb2 import (
    AGENT_EXECUTION_PHASE_PENDING,
    CALLBACK_STATE_WAITING,
    AgentExecutionSpec,
)
from stigma.agent.v1.agent_pb2 import Agent, AgentSpec, McpToolDefinition
from stigma.contracts import configuration, ids, limits, payloads
from stigma.contracts.deadlines import execution_deadline
from stigma.contracts.sub_agents import MEMO_DIGEST, MEMO_EXECUTION
from stigma.contracts.tokens import fingerprint
from stigma.internal.v1.execution_pb2 import (
    AgentWorkflowInput,
    SubAgent,
    WorkflowExecutionInput,
)
from stigma.workflow.v1.workflow_pb2 import Workflow
from stigma_api import errors
from stigma_api.definitions.registry import Registry
from stigma_api.definitions.sub_agent_access import SubAgentAccess
from stigma_api.definitions.tool_access import ToolAccess
from stigma_api.executions import outcome
from stigma_api.executions.callback_tokens import CallbackTokenPolicy
from stigma_api.executions.model_prices import ModelPrices
from stigma_api.executions.start_command import StartCommand
from stigma_api.kinds import D, DefinitionSpec, E, ExecutionSpec
from stigma_api.requests import validation
from stigma_api.temporal.clock import TemporalClock

# Fields that a start request and its execution have in common.
_COPIED_FIELDS = (
    "message",
    "input_json",
    "env",
    "config",
    "session_id",
    "session_policy",
    "labels",
    "caller",
    "callback_payload",
    "partial_text",
)


class StartResolver(Generic[D, E]):
    """Resolves start commands of one kind."""

    def __init__(
        self,
        client: Client,
        registry: Registry[D],
        *,
        tools: ToolAccess,
        agents: SubAgentAccess,
        prices: ModelPrices,
        tokens: CallbackTokenPolicy,
        clock: TemporalClock,
    ) -> None:
        self._agents = agents
        self._clock = clock
        self._namespace = client.namespace
        self._converter = client.data_converter.payload_converter
        self._registry: Registry[D] = registry
        self._tools = tools
        self._prices = prices
        self._tokens = tokens

    async def resolve(self, command: StartCommand[E]) -> None:
        """Resolve the definition and the deadline, and encode all of it, once.

        Raises:
            ApiError: NOT_FOUND, no such agent or workflow, or no workflow of a tool;
                INVALID_ARGUMENT, the request loosens it, is too large as encoded, or a tool is
                out of the operator's allow-list; PERMISSION_DENIED, a tool of an inline agent;
                FAILED_PRECONDITION, the caller's deadline, no Nexus endpoint of a tool, or a model
                whose price is not known of an agent with a cost limit; UNAVAILABLE, an MCP server
                of an inline agent.
        """
        definition_id, definition, command.mcp_tools = await self._definition(command)
        command.spec = _execution_spec(command, definition_id, definition)
        validation.check_overrides(command.spec)
        command.tool_workflows = await self._tool_workflows(command)
        command.sub_agents = await self._sub_agents(command)
        if isinstance(command.spec, AgentExecutionSpec):
            await self._prices.check(command.spec)
        now = self._now(command)
        if command.callback_deadline is not None:
            await self._tokens.check_deadline(command.callback_deadline, now)
            command.spec.callback_deadline.CopyFrom(command.request.callback_deadline)
        self._encode(command, now)

    def _now(self, command: StartCommand[E]) -> datetime:
        """Return Temporal's time: as the caller's activity knows it, else as this process does."""
        caller = command.request.caller
        if command.callback_deadline is not None and caller.HasField("callback_timeout"):
            return command.callback_deadline - caller.callback_timeout.ToTimedelta()
        return self._clock.now()

    async def _definition(
        self, command: StartCommand[E]
    ) -> tuple[str, DefinitionSpec, Sequence[McpToolDefinition]]:
        """Return the definition's id, "" for an inline one, itself, and MCP servers' tools."""
        if command.definition is None:
            inline = command.request.spec
            if not isinstance(inline, AgentSpec):
                return "", inline, ()
            return "", inline, await self._tools.list_mcp_tools(inline, "spec")
        found = await self._registry.get(*command.definition)
        if found is None:
            named = command.kind.definition_id(command.request)
            raise errors.not_found(f"{command.kind.kind} {named}")
        listed = found.mcp_tools if isinstance(found, Agent) else ()
        return f"{found.name}@{found.version}", found.spec, listed

    async def _tool_workflows(self, command: StartCommand[E]) -> Mapping[str, Workflow]:
        if not isinstance(command.spec, AgentExecutionSpec):
            return {}
        if command.definition is not None:  # whoever applied it was checked
            return await self._tools.resolve(command.spec.agent, "agent.spec", None)
        return await self._tools.resolve(command.spec.agent, "spec", command.principal)

    async def _sub_agents(self, command: StartCommand[E]) -> Mapping[str, SubAgent]:
        if not isinstance(command.spec, AgentExecutionSpec):
            return {}
        author = command.principal if command.definition is None else None
        return await self._agents.resolve(command.spec.agent, author)

    def _encode(self, command: StartCommand[E], now: datetime) -> None:
        """Encode the workflow's input, its memo and its first signal.

        Args:
            command: resolved but for them.
            now: Temporal's time.

        Raises:
            ApiError: INVALID_ARGUMENT; Temporal would refuse it for its size.
        """
        timeout = _timeout(command.spec)
        deadline = execution_deadline(now, timeout, command.callback_deadline)
        command.reply, command.initial = _initial_executions(command, now, deadline)
        command.memo = {
            MEMO_EXECUTION: payloads.to_binary_payload(command.initial),
            MEMO_DIGEST: command.digest.hex(),
        }
        command.bind_payload = self._payload(command.bind) if command.bind is not None else None
        request = _workflow_input(command, timeout, deadline)
        if isinstance(request, AgentWorkflowInput) and command.sub_agents:
            request.lineage.CopyFrom(self._agents.tree)
        if isinstance(request, AgentWorkflowInput) and command.takes_turn:
            request.session.workflow_id = ids.session_workflow_id(
                request.spec.principal, self._namespace, request.spec.session_id
            )
        command.input = self._payload(request)
        if (size := command.input.payload.ByteSize()) > limits.MAX_PAYLOAD_BYTES:
            included = f"its {command.kind.kind}"
            if command.tool_workflows:
                included += " and the workflows that its tools name"
            problem = (
                f"has {size} bytes as encoded, {included} included; "
                f"the limit is {limits.MAX_PAYLOAD_BYTES}"
            )
            raise errors.invalid_argument([("request", problem)])

    def _payload(self, message: Message) -> RawValue:
        [payload] = self._converter.to_payloads([message])
        return RawValue(payload)


def _timeout(spec: ExecutionSpec) -> timedelta | None:
    if isinstance(spec, AgentExecutionSpec):
        return configuration.configure(spec.agent, spec.config).timeout
    given = (spec.workflow.limits.timeout.ToTimedelta(), spec.config.timeout.ToTimedelta())
    return min((timeout for timeout in given if timeout), default=None)


def _execution_spec(
    command: StartCommand[E], definition_id: str, definition: DefinitionSpec
) -> ExecutionSpec:
    kind = command.kind.kind
    given = {field.name: value for field, value in command.request.ListFields()}
    copied: dict[str, Any] = {name: given[name] for name in _COPIED_FIELDS if name in given}
    copied |= {f"{kind}_id": definition_id, str(kind): definition}
    spec: ExecutionSpec = command.kind.spec(
        **copied, request_id=command.request_id, principal=command.principal.name
    )
    if command.bind is not None:
        spec.caller.CopyFrom(command.bind.caller)
    if spec.HasField("caller"):
        spec.caller.ClearField("callback_timeout")  # it is of the attempt
    return spec


def _workflow_input(
    command: StartCommand[E], timeout: timedelta | None, deadline: datetime
) -> Message:
    request: AgentWorkflowInput | WorkflowExecutionInput = command.kind.input(
        execution_id=command.execution_id,
        spec=cast("Any", command.spec),
        spec_digest=command.digest,
    )
    if isinstance(request, AgentWorkflowInput):
        for tool, workflow in command.tool_workflows.items():
            request.tool_workflows[tool].CopyFrom(workflow)
        request.mcp_tools.extend(command.mcp_tools)
        for named, agent in command.sub_agents.items():
            request.sub_agents[named].CopyFrom(agent)
    request.deadline.FromDatetime(deadline)
    request.timeout.FromTimedelta(timeout or timedelta())
    return request


def _initial_executions(command: StartCommand[E], now: datetime, deadline: datetime) -> tuple[E, E]:
    """Return the execution as its caller is answered, and as the memo holds it."""
    kind = command.kind
    reply = kind.execution(id=command.execution_id, spec=cast("Any", command.spec))
    definition: Message = getattr(reply.spec, kind.kind)
    for name in kind.definition_fields_stripped:
        definition.ClearField(name)
    outcome.put_phase(reply, AGENT_EXECUTION_PHASE_PENDING)
    reply.status.start_time.FromDatetime(now)
    reply.status.deadline.FromDatetime(deadline)
    if command.bind is not None:
        reply.status.callback.state = CALLBACK_STATE_WAITING
        reply.status.callback.fingerprint = fingerprint(command.bind.token)
        reply.status.callback.bindings = 1
    initial = kind.execution()
    initial.CopyFrom(reply)
    kept: Message = initial.spec
    for name in kind.fields_kept_from_memo:
        kept.ClearField(name)
    return reply, initial
