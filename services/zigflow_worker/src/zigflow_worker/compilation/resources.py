"""Documents that a run needs before its first task, with the authentication of each."""

from __future__ import annotations

from typing import Protocol

from stigma.contracts.engine_calls import DeferredValue
from zigflow_worker.compilation.call_rules import SECRETS
from zigflow_worker.compilation.scope import CompileScope, Variables
from zigflow_worker.definition import Node, SchemaResource
from zigflow_worker.expressions import JSON, is_expression
from zigflow_worker.program.formulas import Formula
from zigflow_worker.program.model import ResourceReference

_SCOPE = CompileScope(frozenset((SECRETS,)))
"""There is no data yet."""


class ResourceCompiler(Protocol):
    """The compiler, as references need it."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the secrets that the document declares."""

    def authentication(self, node: Node) -> Node:
        """Return the policy of an authentication, which may be the name of a reusable one."""

    def check_secrets(self, node: Node) -> None:
        """Check the secrets that an expression reads by name."""

    def expression(self, node: Node, scope: CompileScope, variables: Variables) -> Formula:
        """Compile an expression."""


def reference(definition: SchemaResource, compiler: ResourceCompiler) -> ResourceReference:
    """Return the reference to a document; expressions in its policy are the activity's."""
    node = definition.authentication
    if node is None:
        return ResourceReference(definition.node.pointer, definition.uri)
    deferred: list[DeferredValue] = []
    policy = _without_expressions(
        compiler.authentication(node), ("authentication",), compiler, deferred
    )
    return ResourceReference(
        definition.node.pointer, definition.uri, policy, tuple(deferred), compiler.secrets
    )


def _without_expressions(
    node: Node,
    path: tuple[str | int, ...],
    compiler: ResourceCompiler,
    deferred: list[DeferredValue],
) -> JSON:
    value = node.value
    if isinstance(value, dict):
        return {
            key: _without_expressions(node.child(key), (*path, key), compiler, deferred)
            for key in value
        }
    if isinstance(value, list):
        return [
            _without_expressions(node.child(index), (*path, index), compiler, deferred)
            for index in range(len(value))
        ]
    if not is_expression(value):
        return value
    compiler.check_secrets(node)
    compiler.expression(node, _SCOPE, Variables.BEFORE_THE_RUN)
    deferred.append(DeferredValue(path=path, template=value))
    return None
