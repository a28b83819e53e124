"""`call: agent`: a Stigma agent, awaited without holding a worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from typing_extensions import override

from stigma.agent.v1.agent_pb2 import AgentConfig
from stigma.contracts import limits
from zigflow_worker.compilation import Compiler, CompileScope, TaskKind
from zigflow_worker.definition import Node, Reader, TaskDefinition
from zigflow_worker.errors import VALIDATION, WorkflowError
from zigflow_worker.expressions import JSON, is_expression
from zigflow_worker.program.effects import Effect, EffectOperation
from zigflow_worker.program.encoded_sizes import encoded_size
from zigflow_worker.program.formulas import Formula
from zigflow_worker.program.model import Frame, Operation, Run
from zigflow_worker.program.schemas import Schema
from zigflow_worker.tasks import agent_messages
from zigflow_worker.tasks.agent_execution import AGENT_CANCELLED, run_agent_execution


@dataclass(frozen=True, slots=True)
class AgentCallDefinition:
    """The call of an agent; `arguments` may have expressions."""

    arguments: Node
    output_schema: Node | None


class AgentCall(TaskKind[AgentCallDefinition]):
    """Runs a registered agent, or one written inline."""

    keyword = "call"
    variant = "agent"
    keys = ("call", "with")
    required = ("call", "with")

    @override
    def read(self, fields: Mapping[str, Node], reader: Reader) -> AgentCallDefinition:
        arguments = fields["with"].fields(
            *("agent", "spec", "message", "input", "env", "config", "output", "labels"),
            *("session", "sessionPolicy", "heartbeatTimeout", "partialText"),
            elsewhere=dict.fromkeys(AgentConfig.DESCRIPTOR.fields_by_name, "into 'config'"),
        )
        agent, spec, session = (arguments.get(name) for name in ("agent", "spec", "session"))
        with reader.part():
            if (agent is None) == (spec is None):
                raise fields["with"].error("expected either 'agent' or 'spec'")
        for name in ("agent", "message", "session"):
            if name in arguments:
                with reader.part():
                    arguments[name].text()
        for name in ("env", "labels"):
            if name in arguments and not is_expression(arguments[name].value):
                with reader.part():
                    arguments[name].mapping()
        with reader.part():
            if "sessionPolicy" in arguments and session is None:
                raise arguments["sessionPolicy"].error("'sessionPolicy' needs a 'session'")
        agent_messages.check(arguments)
        schema = None
        if "output" in arguments:
            with reader.part():
                schema = arguments["output"].fields(
                    "schema", required=["schema"], like="{schema: {type: object}}", inside="schema"
                )["schema"]
        return AgentCallDefinition(fields["with"], schema)

    @override
    def compile(self, task: TaskDefinition, compiler: Compiler, scope: CompileScope) -> Operation:
        definition: AgentCallDefinition = task.details
        arguments = dict(definition.arguments.value)  # type: ignore[arg-type]
        arguments.pop("output", None)
        schema = definition.output_schema
        return AgentCallOperation(
            arguments=compiler.template(Node(arguments, definition.arguments.pointer), scope),
            schema=None if schema is None else compiler.schema(schema),
            schema_document=None if schema is None else schema.value,
        )


@dataclass(slots=True)
class AgentCallOperation(EffectOperation):
    """The output is the agent's."""

    cancelled = AGENT_CANCELLED
    arguments: Formula
    schema: Schema | None
    schema_document: JSON

    @override
    def request(self, run: Run, frame: Frame) -> Effect:
        arguments: Any = run.value(self.arguments, frame, frame.input)
        # It decides when a workflow task ends: recorded runs need the same size.
        size = encoded_size(arguments, limits.MAX_PAYLOAD_BYTES).estimate_0_1_0
        run_agent = partial(
            run_agent_execution, arguments, self.schema_document, frame.step.pointer
        )
        return Effect(size, run_agent)

    @override
    def output(self, run: Run, frame: Frame, result: Any) -> JSON:
        frame.details = {"agent": result["agent"]}
        run.record_execution(frame, result["agent"]["executionId"])
        output: JSON = result["output"]
        violation = None if self.schema is None else self.schema.violation(output)
        if violation is not None:
            raise WorkflowError.of(VALIDATION, f"the agent's output does not match: {violation}")
        return output
