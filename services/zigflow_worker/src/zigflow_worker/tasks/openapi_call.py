"""`call: openapi`: one operation of an OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from typing_extensions import override

from stigma.contracts.engine_calls import CallActivities
from zigflow_worker.compilation import CallCompiler, Compiler, CompileScope, TaskKind
from zigflow_worker.definition import Node, Reader, TaskDefinition
from zigflow_worker.expressions import is_expression
from zigflow_worker.program.model import Operation
from zigflow_worker.tasks.external_resources import ExternalResource, read_resource
from zigflow_worker.tasks.http_call import check_flag, check_output
from zigflow_worker.tasks.outgoing_call import CallOperation


@dataclass(frozen=True, slots=True)
class OpenApiCallDefinition:
    """A call of an operation; its arguments may have expressions."""

    arguments: Node
    """Those of the document, without authentication and `document`."""
    document: ExternalResource | None
    """None: it cannot be read because of a mistake."""
    authentication: Node | None


class OpenApiCallTask(TaskKind[OpenApiCallDefinition]):
    """Sends the request of one operation."""

    keyword = "call"
    variant = "openapi"
    keys = ("call", "with")
    required = ("call", "with")
    is_call = True

    @override
    def read(self, fields: Mapping[str, Node], reader: Reader) -> OpenApiCallDefinition:
        node = fields["with"]
        arguments = node.fields(
            *("document", "operationId", "parameters", "authentication", "output", "redirect"),
            required=["document", "operationId"],
        )
        with reader.part():
            arguments["operationId"].text()
        if "parameters" in arguments and not is_expression(arguments["parameters"].value):
            with reader.part():
                arguments["parameters"].mapping()
        with reader.part():
            check_output(arguments.get("output"))
        with reader.part():
            check_flag(arguments.get("redirect"))
        authentication = arguments.pop("authentication", None)
        document = None
        with reader.part():
            document = read_resource(arguments["document"])
        written = {name: part.value for name, part in arguments.items() if name != "document"}
        return OpenApiCallDefinition(Node(written, node.pointer), document, authentication)

    @override
    def compile(self, task: TaskDefinition, compiler: Compiler, scope: CompileScope) -> Operation:
        definition: OpenApiCallDefinition = task.details
        written = definition.arguments
        if definition.document is not None:
            document = definition.document.compiled(compiler)
            written = Node({**written.value, "document": document}, written.pointer)  # type: ignore[dict-item]
        call = CallCompiler(compiler, scope, task)
        return CallOperation(
            method=CallActivities.call_openapi,
            call=call.compile(written, definition.authentication),
        )
