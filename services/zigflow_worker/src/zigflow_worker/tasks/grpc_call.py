"""`call: grpc`: one method of a gRPC service."""

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
from zigflow_worker.tasks.outgoing_call import CallOperation

_MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class GrpcCallDefinition:
    """A call of a method; its arguments may have expressions."""

    arguments: Node
    """Those of the document, without authentication and `proto`."""
    proto: ExternalResource | None
    authentication: Node | None


class GrpcCallTask(TaskKind[GrpcCallDefinition]):
    """Calls one method."""

    keyword = "call"
    variant = "grpc"
    keys = ("call", "with")
    required = ("call", "with")
    is_call = True

    @override
    def read(self, fields: Mapping[str, Node], reader: Reader) -> GrpcCallDefinition:
        node = fields["with"]
        arguments = node.fields(
            *("proto", "service", "method", "arguments"), required=["service", "method"]
        )
        with reader.part():
            arguments["method"].text()
        with reader.part():
            _check_arguments(arguments.get("arguments"))
        service: dict[str, Node] = {}
        with reader.part():
            service = _read_service(arguments["service"])
        authentication = service.pop("authentication", None)
        proto = arguments.pop("proto", None)
        resource = None
        if proto is not None:
            with reader.part():
                resource = read_resource(proto)
        written = {name: part.value for name, part in arguments.items()}
        written["service"] = {name: part.value for name, part in service.items()}
        return GrpcCallDefinition(Node(written, node.pointer), resource, authentication)

    @override
    def compile(self, task: TaskDefinition, compiler: Compiler, scope: CompileScope) -> Operation:
        definition: GrpcCallDefinition = task.details
        arguments = definition.arguments
        if definition.proto is not None:
            proto = definition.proto.compiled(compiler)
            arguments = Node({**arguments.value, "proto": proto}, arguments.pointer)  # type: ignore[dict-item]
        call = CallCompiler(compiler, scope, task)
        return CallOperation(
            method=CallActivities.call_grpc,
            call=call.compile(arguments, definition.authentication),
        )


def _check_arguments(node: Node | None) -> None:
    if node is None or is_expression(node.value) or isinstance(node.value, list):
        return
    node.mapping()


def _read_service(node: Node) -> dict[str, Node]:
    fields = node.fields(
        *("name", "host", "port", "authentication"),
        required=["name", "host"],
        like="{name: greet.Greeter, host: localhost, port: 50051}",
    )
    for name in ("name", "host"):
        with node.part():
            fields[name].text()
    port = fields.get("port")
    if port is not None and not is_expression(port.value):
        with node.part():
            if not 0 < port.integer() <= _MAX_PORT:
                raise port.error(f"expected a port: 1 to {_MAX_PORT}")
    return fields
