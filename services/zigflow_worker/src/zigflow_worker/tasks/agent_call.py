"""`call: agent`: a Stigma agent, awaited without holding a worker."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypedDict

from temporalio.exceptions import FailureError, is_cancelled_exception
from typing_extensions import override

from stigma.agent.v1.agent_execution_pb2 import Usage
from stigma.agent.v1.agent_pb2 import AgentConfig, AgentSpec
from stigma.contracts import limits
from stigma_client import (
    AgentExecutionCancelled,
    AgentExecutionError,
    AgentExecutionTimedOut,
    run_agent,
)
from zigflow_worker.compilation import Compiler, Place
from zigflow_worker.definition import Node, Reader, TaskDefinition
from zigflow_worker.errors import ErrorType, WorkflowError
from zigflow_worker.execution.frames import Branch, Frame
from zigflow_worker.execution.interpreter import Interpreter
from zigflow_worker.execution.pool import measured
from zigflow_worker.execution.trace import EXECUTION
from zigflow_worker.expressions import JSON, is_expression
from zigflow_worker.program import Formula, Operation
from zigflow_worker.schemas import Schema
from zigflow_worker.tasks import agent_messages
from zigflow_worker.tasks.kind import TaskKind


@dataclass(frozen=True, slots=True)
class AgentCallDefinition:
    """What is asked of an agent; `arguments` may have expressions."""

    arguments: Node
    output_schema: Node | None


class AgentCall(TaskKind[AgentCallDefinition]):
    """Runs a registered agent, or one written inline."""

    keyword = "call"
    value = "agent"
    keys = ("call", "with")
    required = ("call", "with")

    @override
    def read(self, fields: Mapping[str, Node], reader: Reader) -> AgentCallDefinition:
        """Read the arguments; what is not an expression is checked now."""
        arguments = fields["with"].fields(
            *("agent", "spec", "message", "input", "env", "config", "output", "session", "labels"),
            "heartbeatTimeout",
        )
        if ("agent" in arguments) == ("spec" in arguments):
            raise fields["with"].error("expected either 'agent' or 'spec'")
        for name in ("agent", "message", "session"):
            if name in arguments:
                arguments[name].text()
        for name in ("env", "labels"):
            if name in arguments and not is_expression(arguments[name].value):
                arguments[name].mapping()
        agent_messages.check(arguments)
        schema = None
        if "output" in arguments:
            schema = arguments["output"].fields("schema", required=["schema"])["schema"]
        return AgentCallDefinition(fields["with"], schema)

    @override
    def compile(self, task: TaskDefinition, compiler: Compiler, place: Place) -> Operation:
        """Compile the arguments."""
        definition: AgentCallDefinition = task.details
        arguments = dict(definition.arguments.value)  # type: ignore[arg-type]
        arguments.pop("output", None)
        schema = definition.output_schema
        return AgentCallOperation(
            arguments=compiler.template(Node(arguments, definition.arguments.pointer), place),
            schema=None if schema is None else compiler.schema(schema),
            schema_document=None if schema is None else schema.value,
        )


@dataclass(slots=True)
class AgentCallOperation(Operation):
    """The output is the agent's. The frame needs no state: an effect is never carried over."""

    arguments: Formula
    schema: Schema | None
    schema_document: JSON

    @override
    def proceed(self, run: Interpreter, branch: Branch, frame: Frame) -> None:
        """Start the agent, wait for it, complete."""
        effect = branch.effect
        if effect is None:
            arguments: Any = run.value(self.arguments, frame, frame.input)
            size = measured(arguments, limits.MAX_PAYLOAD_BYTES)
            if run.scheduling.admit(branch, size):
                run.wait(branch, effect=call_agent(arguments, self.schema_document))
        elif effect.done():
            branch.effect = None
            self._take(run, branch, frame, effect)
        else:
            run.wait(branch)

    def _take(
        self, run: Interpreter, branch: Branch, frame: Frame, effect: asyncio.Task[JSON]
    ) -> None:
        try:
            result: Any = effect.result()
        except asyncio.CancelledError:
            raise WorkflowError.of(ErrorType.AGENT_CANCELLED, "the call was cancelled") from None
        except AgentCallError as error:
            if frame.entry is not None:
                frame.entry[EXECUTION] = error.execution_id or None
            raise
        frame.details = {"agent": result["agent"]}
        if frame.entry is not None:
            frame.entry[EXECUTION] = result["agent"]["executionId"]
        output = result["output"]
        violation = None if self.schema is None else self.schema.violation(output)
        if violation is not None:
            raise WorkflowError.of(
                ErrorType.VALIDATION, f"the agent's output does not match: {violation}"
            )
        run.complete(branch, frame, output)


class AgentCallError(WorkflowError):
    """An agent that did not complete."""

    execution_id: str = ""

    @classmethod
    def from_execution(cls, error: AgentExecutionError) -> "AgentCallError":
        """Return the error a document sees; its detail names the reason."""
        error_type = ErrorType.AGENT_FAILED
        if isinstance(error, AgentExecutionTimedOut):
            error_type = ErrorType.AGENT_TIMEOUT
        elif isinstance(error, AgentExecutionCancelled):
            error_type = ErrorType.AGENT_CANCELLED
        detail = f"{error.reason}: {error.message}" if error.reason else error.message
        mapped = cls(WorkflowError.of(error_type, detail).problem)
        mapped.execution_id = error.execution_id
        return mapped


async def call_agent(arguments: Mapping[str, Any], schema: JSON) -> JSON:
    """Run an agent; returns its `output`, and `agent` for `$task`.

    Raises:
        WorkflowError: the agent did not complete, or the arguments are wrong.
    """
    try:
        request = _request(arguments, schema)
    except (ValueError, TypeError) as error:
        raise WorkflowError.of(ErrorType.CONFIGURATION, str(error)) from None
    try:
        result = await run_agent(**request)
    except AgentExecutionError as error:
        raise AgentCallError.from_execution(error) from None
    except FailureError as error:
        if is_cancelled_exception(error):
            raise WorkflowError.of(ErrorType.AGENT_CANCELLED, "the call was cancelled") from None
        raise WorkflowError.of(ErrorType.AGENT_FAILED, error.message) from None
    return {
        "output": result.output,
        "agent": {"executionId": result.execution_id, **_usage(result.usage)},
    }


class _Request(TypedDict, total=False):
    """Arguments of `run_agent`."""

    agent: str
    message: str
    input: JSON
    spec: AgentSpec
    env: Mapping[str, str] | None
    config: AgentConfig
    session_id: str
    labels: Mapping[str, str] | None
    timeout: timedelta
    heartbeat_timeout: timedelta


def _request(arguments: Mapping[str, Any], schema: JSON) -> _Request:
    """Return what to ask (raises ValueError)."""
    request: _Request = {
        "agent": str(arguments.get("agent", "")),
        "message": agent_messages.text_of(arguments.get("message")),
        "input": arguments.get("input"),
        "env": agent_messages.texts_of(arguments.get("env")),
        "session_id": agent_messages.text_of(arguments.get("session")),
        "labels": agent_messages.texts_of(arguments.get("labels")),
    }
    if "spec" in arguments:
        request["spec"] = spec = agent_messages.spec_of(arguments["spec"])
        if schema is not None and not spec.output_schema:
            spec.output_schema = agent_messages.json_text(schema)
    if "config" in arguments:
        request["config"] = config = agent_messages.config_of(arguments["config"])
        if config.HasField("timeout"):
            request["timeout"] = config.timeout.ToTimedelta()
    if "heartbeatTimeout" in arguments:
        heartbeat_timeout = agent_messages.heartbeat_timeout_of(arguments["heartbeatTimeout"])
        request["heartbeat_timeout"] = heartbeat_timeout
    return request


def _usage(usage: Usage) -> dict[str, JSON]:
    return {
        "usage": {
            "inputTokens": usage.input_tokens,
            "outputTokens": usage.output_tokens,
            "modelCalls": usage.model_calls,
        },
        "cost": usage.cost_usd,
    }
