"""`call: http`: one request to an endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from typing_extensions import override

from stigma.contracts.engine_calls import CallActivities
from zigflow_worker.compilation import CallCompiler, Compiler, CompileScope, TaskKind
from zigflow_worker.definition import Node, Reader, TaskDefinition
from zigflow_worker.definition.endpoints import endpoint_parts
from zigflow_worker.expressions import JSON, is_expression
from zigflow_worker.program.model import Operation
from zigflow_worker.tasks.outgoing_call import CallOperation
from zigflow_worker.uri_templates import check_http_template, template_parts

OUTPUTS = ("content", "response", "raw")


@dataclass(frozen=True, slots=True)
class HttpCallDefinition:
    """An HTTP call; its arguments may have expressions."""

    arguments: Node
    """Those of the document, but for the endpoint's authentication; a literal endpoint is there
    as `uriTemplate` with `uriValues`."""
    authentication: Node | None


class HttpCallTask(TaskKind[HttpCallDefinition]):
    """Sends one HTTP request."""

    keyword = "call"
    variant = "http"
    keys = ("call", "with")
    required = ("call", "with")
    is_call = True

    @override
    def read(self, fields: Mapping[str, Node], reader: Reader) -> HttpCallDefinition:
        node = fields["with"]
        arguments = node.fields(
            *("method", "endpoint", "headers", "body", "query", "output", "redirect"),
            required=["method", "endpoint"],
            elsewhere={"authentication": "into 'endpoint': {uri: …, authentication: …}"},
        )
        with reader.part():
            arguments["method"].text()
        for name in ("headers", "query"):
            if name in arguments and not is_expression(arguments[name].value):
                with reader.part():
                    arguments[name].mapping()
        with reader.part():
            check_output(arguments.get("output"))
        with reader.part():
            check_flag(arguments.get("redirect"))
        written = {name: part.value for name, part in arguments.items() if name != "endpoint"}
        authentication = None
        with reader.part():
            uri, authentication = endpoint_parts(arguments["endpoint"])
            _check_uri(uri)
            written |= endpoint_arguments(uri)
        return HttpCallDefinition(Node(written, node.pointer), authentication)

    @override
    def compile(self, task: TaskDefinition, compiler: Compiler, scope: CompileScope) -> Operation:
        definition: HttpCallDefinition = task.details
        call = CallCompiler(compiler, scope, task)
        return CallOperation(
            method=CallActivities.call_http,
            call=call.compile(definition.arguments, definition.authentication),
        )


def check_output(node: Node | None) -> None:
    """Check the form of a call's output."""
    if node is not None and not is_expression(node.value) and node.text() not in OUTPUTS:
        raise node.error(f"expected one of {', '.join(OUTPUTS)}", known=OUTPUTS)


def check_flag(node: Node | None) -> None:
    """Check a flag, which may be an expression."""
    if node is not None and not is_expression(node.value):
        node.boolean()


def _check_uri(node: Node) -> None:
    text = node.text().strip()
    if not is_expression(text):
        try:
            check_http_template(text)
        except ValueError as error:
            raise node.error(str(error)) from None


def endpoint_arguments(uri: Node) -> dict[str, JSON]:
    """Return the arguments that stand for an endpoint's URI: its template and what that reads.

    An expression's result is a URI as it is: data is never a template.
    """
    text = uri.text().strip()
    if is_expression(text):
        return {"endpoint": text}
    return template_parts(text)
